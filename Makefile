# The doors of this checkout. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
TEST_WORKERS ?= auto
# Nothing of the machine is within the tests' reach, so that a redis-server or postgres on the PATH
# cannot hide a missing step. Where there are no wheels: make test TEST_PATH="$$PATH".
TEST_PATH ?= $(CURDIR)/$(BIN)
ARGS ?=
# 200 faults in all. The seeds are pinned, so that a change is judged by what it changes.
CHAOS_SEEDS ?= 20261 20262
CHAOS := --faults 100 --purchases 20000 --journeys 600 --seconds 130

# UPGRADE=1 takes the newest versions; without it a lock moves only as far as pyproject.toml does.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help install install-dev run loadtest bench test chaos planted prove check lint types imports containers lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv with what flashorder needs to run
	@$(PYTHON) deploy/bootstrap.py run

install-dev: ## make .venv with the tools of check and test as well
	@$(PYTHON) deploy/bootstrap.py dev

run: install ## install what changed, then start everything; ARGS go to `flashorder up`
	@exec $(BIN)/flashorder up $(ARGS)

loadtest: ## drive load at a running flashorder, then verify; ARGS go to `flashorder loadtest`
	@$(PYTHON) deploy/bootstrap.py loadtest
	@exec $(BIN)/flashorder loadtest $(ARGS)

bench: ## measure beside floors and peers (needs wrk); ARGS go to `flashorder bench`
	@$(PYTHON) deploy/bootstrap.py loadtest
	@$(BIN)/python $(wildcard deploy/bootstrap_pip/pip-*.whl)/pip install -qq --no-input \
		--disable-pip-version-check --require-hashes --no-deps --requirement requirements/bench.lock
	@exec $(BIN)/flashorder bench $(ARGS)

test: install-dev ## run the tests; ARGS go to pytest
	@PATH="$(TEST_PATH)" $(BIN)/python -m pytest -n $(TEST_WORKERS) --maxprocesses 4 $(ARGS)

chaos: install-dev ## 200 random faults in a sale, pinned seeds, 6 to 8 minutes; ARGS go to `flashorder chaos`
	@for seed in $(CHAOS_SEEDS); do \
		rm -rf .chaos/$$seed; \
		$(BIN)/flashorder chaos --seed $$seed $(CHAOS) --keep .chaos/$$seed $(ARGS) || { \
			echo "history, snapshot, data and logs: .chaos/$$seed; again: make chaos CHAOS_SEEDS=$$seed"; \
			exit 1; }; \
		rm -rf .chaos/$$seed; \
	done; echo "chaos: seeds $(CHAOS_SEEDS), nothing violated"

planted: install-dev ## plant each known bug into a service: a check must tell of every one (half an hour)
	@$(BIN)/python -m tests.faults.tester $(ARGS)

prove: install-dev ## the first sale at full size, plain and under kill -9; writes docs/first-sale.md
	@$(BIN)/python -m loadtest.first_sale --all --report docs

check: lint types imports containers ## everything that can be said without running the service

lint: install-dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install-dev ## mypy, strict
	$(BIN)/mypy --strict flashorder

imports: install-dev ## the contract of which room may import which
	$(BIN)/lint-imports

containers: install-dev ## docker-compose.yml against its schema, Dockerfile against hadolint
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile

.PHONY: audit
audit: install-dev ## ask PyPI what is known against the locked dependencies (a mirror cannot be asked)
	@$(BIN)/uv run --quiet --no-project --isolated --with-requirements requirements/audit.lock \
		python deploy/audit.py

lock: install-dev ## write requirements/*.lock anew from pyproject.toml; UPGRADE=1 for the newest
	$(LOCK) --extra build --output-file requirements/run.lock pyproject.toml
	$(LOCK) --extra build --extra loadtest --constraint requirements/run.lock \
		--output-file requirements/loadtest.lock pyproject.toml
	$(LOCK) --extra build --extra loadtest --extra bench --constraint requirements/loadtest.lock \
		--output-file requirements/bench.lock pyproject.toml
	$(LOCK) --extra build --extra loadtest --extra dev --constraint requirements/loadtest.lock \
		--output-file requirements/dev.lock pyproject.toml
	$(LOCK) --no-deps --output-file requirements/embedded.lock requirements/embedded.in
	$(LOCK) --output-file requirements/audit.lock requirements/audit.in

clean: ## remove .venv and caches; the data folder stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist flashorder.egg-info
	find flashorder tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
