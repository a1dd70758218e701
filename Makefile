# One command a purpose. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: setup test lint format types imports unit services demo bench soak lock clean

setup: $(STAMP)

# The environment is built from the lock alone: every package by its hash, the project itself without an index.
$(STAMP): requirements/dev.lock pyproject.toml
	@{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	   $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock && \
	   $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && \
	   touch $(STAMP); } 1>&2

# Debian packages that the tests run for real; silent where all are there, skipped where we may not install.
services:
	@tests/services/install 1>&2

test: $(STAMP) services
	@$(BIN)/python tests/run_all.py $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

format: $(STAMP)
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo

unit: $(STAMP)
	@$(BIN)/pytest tests/unit $(ARGS)

demo: $(STAMP)
	@$(BIN)/kitwatch demo $(ARGS)

bench: $(STAMP) services
	@$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) services
	@$(BIN)/python -m tests.chaos $(ARGS)

# Needs uv on the path. Hashes for every file, no index named.
lock:
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra dev pyproject.toml -o requirements/dev.lock
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra agent pyproject.toml -o requirements/agent.lock
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra collector pyproject.toml -o requirements/collector.lock

clean:
	rm -rf $(VENV) *.egg-info
