# `make demo` and `make test` do all of their own set-up. What is there already is not done again.
SHELL := /bin/sh
LAB := .venv/bin/lab

.PHONY: help setup python demo test lint clean

help: ## Say what there is to make.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

python:
	@uv=$$(lab/native/uv.sh) && "$$uv" sync --frozen --quiet

setup: python ## Install uv, the Python packages and the programs that the lab starts.
	@uv=$$(lab/native/uv.sh) && UV="$$uv" $(LAB) setup

demo: setup ## Start the stack, run the experiments' short form, print one table, stop the stack.
	@$(LAB) demo

lint: python ## Check style, format, types and import rules.
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

test: setup lint ## Lint, then run all the tests: those of a stack in turn, those that need none beside them.
	.venv/bin/pytest --numprocesses=2

clean: ## Stop the stack; remove its data, logs and the Python environment. The cache of programs stays.
	@if [ -x $(LAB) ]; then $(LAB) down --volumes; fi
	rm -rf .lab .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
