# Everything works from a fresh clone with Python 3.11 or newer and make: the virtual environment makes itself.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.requirements-dev
PYTEST_ARGS ?= -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo smoke-test metrics up down status test chaos bench lint lint-django format requirements migrations openapi stubs baseline dashboards clean

help:
	@echo "make demo          show the main job on an embedded stack, with checks and timings"
	@echo "make smoke-test    nine steps through wvsctl, on an embedded stack; scripts/smoke-test.sh: on WVS_API_URL"
	@echo "make metrics       every metric with its value, of the running stack or after a demonstration"
	@echo "make up            run the stack in the foreground (Ctrl-C stops it); make status, make down"
	@echo "                   both with EXECUTORS=2: the executors as services of their own, over gRPC"
	@echo "make test          all tests;  make lint  all checks of the code;  make format  put it in shape"
	@echo "make chaos         ten minutes of faults on real processes, then the verdict; WVS_CHAOS_SEED, WVS_CHAOS_SECONDS,"
	@echo "                   WVS_CHAOS_EXECUTORS=2: with the executors as services of their own, over gRPC"
	@echo "make bench         measure, beside what else does the same; ONLY=\"name name\": some, see benchmarks/README.md"
	@echo "make migrations    write migrations;  make openapi  write docs/openapi.yaml"
	@echo "make stubs         write executor/wire/ from proto/;  make baseline  take what proto/ says now as promised"
	@echo "make dashboards    write deploy/grafana/dashboards/ from scripts/dashboards/"
	@echo "make requirements  pin what pyproject.toml asks for;  make clean  remove the environment and caches"

$(STAMP): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("WVS needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(RUN) || { echo "making $(VENV) …"; $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make virtual environments (on Debian: apt-get install python3-venv)"; exit 1; }
	@echo "installing requirements-dev.txt …"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# EXECUTORS=2: that many executors as services of their own, each with a mount of its own; else one inside the worker.
demo smoke-test metrics up down status: $(STAMP)
	@$(if $(EXECUTORS),WVS_STACK_EXECUTORS=$(EXECUTORS)) $(RUN) -m wvs_project.stack $@

test: $(STAMP)
	$(RUN) -m pytest $(PYTEST_ARGS)

chaos: $(STAMP)
	@$(RUN) -m tests.chaos

# ONLY="wakeup api": some; OUT: the directory for the JSON and the table, .bench unless given.
bench: $(STAMP)
	@$(RUN) -m benchmarks $(if $(OUT),--out $(OUT)) $(ONLY)

lint: $(STAMP)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/buf lint proto
	$(VENV)/bin/buf breaking proto --against proto/baseline.json
	@$(RUN) -m wvs_project.stack.throwaway $(MAKE) --no-print-directory lint-django

# Needs the settings' environment: `make lint` gives it.
lint-django:
	$(RUN) -m mypy
	$(RUN) manage.py check
	$(RUN) manage.py makemigrations --check --dry-run
	$(RUN) manage.py spectacular --validate --fail-on-warn --file $(VENV)/openapi.yaml
	@cmp -s $(VENV)/openapi.yaml docs/openapi.yaml || { echo "docs/openapi.yaml is stale: make openapi"; exit 1; }

format: $(STAMP)
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

migrations: $(STAMP)
	@$(RUN) -m wvs_project.stack.throwaway $(RUN) manage.py makemigrations

openapi: $(STAMP)
	@$(RUN) -m wvs_project.stack.throwaway $(RUN) manage.py spectacular --validate --file docs/openapi.yaml

stubs: $(STAMP)
	@$(RUN) -m scripts.stubs

# What a release has promised: callers and executors of two releases speak with each other while one is rolled out.
baseline: $(STAMP)
	@$(VENV)/bin/buf build proto --exclude-source-info --output proto/baseline.json

dashboards: $(STAMP)
	@$(RUN) -m scripts.dashboards

# Versions only, the same whatever index they came from, and for the oldest Python that WVS runs on.
PIN = $(VENV)/bin/uv pip compile --system-certs --quiet --python-version 3.11.0 --no-header --no-annotate --no-emit-index-url pyproject.toml
requirements: $(STAMP)
	@test -x $(VENV)/bin/uv || $(RUN) -m pip install --quiet --disable-pip-version-check uv
	$(PIN) --output-file requirements.txt
	$(PIN) --constraint requirements.txt --extra stack --extra cli --extra dev --output-file requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
