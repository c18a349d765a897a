"""Measures Standpipe side by side with what people use instead: `make bench`, or `python -m benchmarks`.

Every figure is taken in a fresh process, the sides by turns (A B A B ...), several rounds; what counts is their ratio in the same
run. `cases/` says what is compared and what is to be reached; `sides/` holds what runs in the fresh processes.
"""
