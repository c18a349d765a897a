"""The words Standpipe speaks: messages, outcomes, errors, clocks, units. Imports nothing of ours; no threads, no I/O."""
