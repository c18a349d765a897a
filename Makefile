# The one handle. Bare `make` lists the verbs; each verb sets up what it needs by itself (scripts/setup, in .venv).

.DEFAULT_GOAL := help
.PHONY: help demo test torture simulate lint fmt bench docs clean setup
unexport PYTHONPATH PYTHONHOME

help:
	@echo "Standpipe. make VERB, where VERB is one of:"
	@sed -n 's/^\([a-z]*\):.*## /  \1@/p' Makefile | awk -F@ '{ printf "%-8s %s\n", $$1, $$2 }'

demo: setup ## watch log lines reach two destinations, survive an outage, and add up
	.venv/bin/standpipe demo

# These tests wait for servers most of the time: several files at once.
WITH_SERVERS := $(addprefix tests/integration/,servers conformance kafka rabbitmq http nats redis mqtt postgres examples)

test: lint ## everything that must hold: lint, types, import contracts, all tests
	@scripts/services
	.venv/bin/python -m pytest $(addprefix --ignore=,$(WITH_SERVERS))
	.venv/bin/python -m pytest -n 4 --dist loadfile $(wildcard $(WITH_SERVERS))

torture: setup ## ten times as many kills, power cuts and broken disks as in test, some minutes (all of it as root on Linux only)
	scripts/torture

simulate: setup ## random histories of the whole engine: new ones, or SEED=123 again, RUNS=5 from there on
	scripts/simulate $(if $(SEED),--seed '$(SEED)') $(if $(RUNS),--runs '$(RUNS)')

lint: setup ## style, formatting, types and import contracts, in seconds
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	.venv/bin/lint-imports

fmt: setup ## mend what a tool can mend: imports, simple lint, formatting
	.venv/bin/python -m ruff check --fix-only
	.venv/bin/python -m ruff format

bench: setup ## measure, side by side with the rivals, into benchmarks/results/
	.venv/bin/python -m benchmarks

docs: setup ## generate the reference pages and check the documentation
	.venv/bin/python scripts/docs.py

clean: ## remove everything that make and the tests made, .venv included
	scripts/clean

setup:
	@scripts/setup
