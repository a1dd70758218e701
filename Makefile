# One command a purpose. `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 14

.PHONY: help setup test lint format types imports unit services demo bench soak fuzz polls slowlink oddanswers readonlyday clocks floods week strangers desk forks api pictures drill drills mutation quiet told replay lock release clean

setup: $(STAMP) ## build .venv/ from the locked dependencies

# The environment is built from the lock alone: every package by its hash, the project itself without an index.
$(STAMP): requirements/dev.lock pyproject.toml
	@{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	   $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock && \
	   $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && \
	   touch $(STAMP); } 1>&2

# Debian packages that the tests run for real; silent where all are there, skipped where we may not install.
services: ## install the Debian packages that the tests run for real
	@tests/services/install 1>&2

test: $(STAMP) services ## format, lint, types, import rule, profiles, tests: what CI runs
	@$(BIN)/python tests/run_all.py $(ARGS)

lint: $(STAMP) ## format and lint only
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

format: $(STAMP) ## put the code into format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

types: $(STAMP) ## strict types only
	@$(BIN)/mypy

imports: $(STAMP) ## the import rule only
	@$(BIN)/lint-imports --no-logo

unit: $(STAMP) ## the fast tests only, without fuzz and what takes seconds
	@$(BIN)/pytest tests/unit -m "not fuzz and not long" -n $$(nproc) --dist worksteal $(ARGS)

demo: $(STAMP) ## everything on this machine, with a simulated kit
	@$(BIN)/kitwatch demo $(ARGS)

bench: $(STAMP) services ## measure, as ratios within one run
	@$(BIN)/python -m bench $(ARGS)

# Long forms. Each runs its short form in `make test`; with --record it leaves a file in bench/results/ to commit.

soak: $(STAMP) services ## break everything at random for as long as asked (ARGS="--for 60s --json")
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(STAMP) services ## the fuzz tests over and over with new inputs (ARGS="--for 10m")
	@$(BIN)/python -m tests.fuzz $(ARGS)

polls: $(STAMP) ## a week of polls with half the kit dead: what grows (ARGS="--virtual 453600 --real 0 --record")
	@$(BIN)/python -m tests.chaos.polls $(ARGS)

slowlink: $(STAMP) services ## bring a day's backlog home over 20 kbit/s (ARGS="--hours 1 --record")
	@$(BIN)/python -m tests.slow_link $(ARGS)

oddanswers: $(STAMP) ## odd answers of devices, servers and broker (ARGS="--answers 100000 --record")
	@$(BIN)/python -m tests.odd_answers $(ARGS)

readonlyday: $(STAMP) ## a day of the simulated kit: what was asked of it (ARGS="--moments 1440 --record")
	@$(BIN)/python -m tests.read_only_day $(ARGS)

clocks: $(STAMP) ## the contract's clocks beside an oracle that steps minutes (ARGS="--cases 100000 --record")
	@$(BIN)/python -m tests.oracle $(ARGS)

floods: $(STAMP) services ## floods and attacks of one vehicle over a collector, a neighbour beside it (ARGS="--for 15s --record")
	@$(BIN)/python -m tests.floods $(ARGS)

week: $(STAMP) ## a week of forty tickets in virtual time: who is told what (ARGS="--seeds 20 --record")
	@$(BIN)/python -m tests.week $(ARGS)

strangers: $(STAMP) ## let a stranger with one vehicle's certificate speak (ARGS="--messages 2000000 --record")
	@$(BIN)/python -m tests.strangers $(ARGS)

desk: $(STAMP) services ## the desk under people, time, crashes and two collectors (ARGS="--runs 2000 --record")
	@$(BIN)/python -m tests.desk $(ARGS)

forks: $(STAMP) services ## vehicles that come back at once after an outage (ARGS="--vehicles 300 --minutes 60 --record")
	@$(BIN)/python -m bench.forks $(ARGS)

pictures: $(STAMP) services ## every page as a picture (ARGS="--to pictures", or ARGS="--docs" for docs/pages.md)
	@$(BIN)/python -m tests.browser.pictures $(ARGS)

api: $(STAMP) services ## requests made of the API's own document, to a real collector (ARGS="--for 10m --record")
	@$(BIN)/python -m tests.api_requests $(ARGS)

drill: $(STAMP) ## all scenarios, each combination and seed (ARGS="--seeds 1 --poll 60s sim_absent")
	@$(BIN)/kitwatch drill $(ARGS)

drills: $(STAMP) ## the same, the quick ones first, for so long (ARGS="--for 1h --seeds 5 --poll 10s --record")
	@$(BIN)/python -m tests.drills $(ARGS)

mutation: $(STAMP) ## each shipped rule, edge, verb and window taken away: who notices (ARGS="modem_hot")
	@$(BIN)/python -m tests.mutation $(ARGS)

replay: $(STAMP) services ## days with outages, recorded and judged again (ARGS="--days 3 --record")
	@$(BIN)/python -m tests.replayed $(ARGS)

quiet: $(STAMP) ## vehicles without a fault, in every trouble (ARGS="--vehicle-days 1000 --record")
	@$(BIN)/python -m tests.lives $(ARGS)

told: $(STAMP) ## faults put into ordinary lives, and how each is told (ARGS="--faults 200 --seed 7 --record --keep FOLDER")
	@$(BIN)/python -m tests.told $(ARGS)

# Needs uv on the path. Hashes for every file, no index named.
lock: ## lock the dependencies anew (needs uv)
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra dev pyproject.toml -o requirements/dev.lock
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra agent pyproject.toml -o requirements/agent.lock
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
	  --extra collector pyproject.toml -o requirements/collector.lock

# Package, locked dependencies, units, configuration files, schemas for editors: what docs/installation installs.
release: $(STAMP) ## make dist/kitwatch-VERSION.tar.gz, for docs/installation
	@name=kitwatch-$$($(BIN)/kitwatch --version) && rm -rf build dist/$$name && mkdir -p dist/$$name && \
	  $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist/$$name . && \
	  cp -r LICENSE README.md CHANGELOG.md requirements systemd grafana docs dist/$$name && \
	  cp --parents firmware_profiles/README.md dist/$$name && $(BIN)/kitwatch schema --to dist/$$name/schema && \
	  $(BIN)/kitwatch api > dist/$$name/schema/openapi.json && \
	  tar -C dist -czf dist/$$name.tar.gz $$name && rm -rf dist/$$name && echo dist/$$name.tar.gz

clean: ## throw the environment away
	rm -rf $(VENV) *.egg-info
