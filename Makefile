# Everything starts here: each target sets up what it needs, says what it does, and does it once.
# PYTHON     the interpreter (3.11 or newer) that the virtual environment is made from
# PIP_FLAGS  more options for pip, e.g. --extra-index-url for an index that has torch's small CPU build
# ARGS       more options for the program behind the target, e.g. make demo ARGS=--stay

PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

# Debian's Python comes without what virtual environments are made with; root gets it, others are told.
ADD_VENV = [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	echo "==> $(PYTHON) cannot make virtual environments yet: apt-get install python3-venv" && \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null

.DEFAULT_GOAL := help
.PHONY: help setup run demo test bench lint docs clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.developer ## install everything for work on Offbeat itself into .venv

run: $(VENV)/.demo ## run the service with its dashboard on http://127.0.0.1:8844 until Ctrl-C
	@echo "==> offbeat up: API, analyzer and dashboard in one process; Ctrl-C ends it"
	@$(BIN)/offbeat up $(ARGS)

demo: $(VENV)/.demo ## train a small real job on 4 hosts, break it four times, see each fault named (3 minutes)
	@echo "==> offbeat demo: the service, 4 hosts, a real 8-process training job, and real trouble"
	@$(BIN)/offbeat demo $(ARGS)

test: $(VENV)/.developer ## run all tests; what this machine cannot do is skipped, with the reason
	@echo "==> tests: first the fast ones, $(JOBS) at a time; then the slow ones, one after the other, since they time real jobs"
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist worksteal $(ARGS); fast=$$?; \
	$(BIN)/python -m pytest -m slow $(ARGS); slow=$$?; \
	[ $$fast = 0 ] && [ $$slow = 0 ]

bench: $(VENV)/.developer ## measure a healthy job: false alarms, quiet and busy (more in benchmarks/README.md)
	@echo "==> false alarms of a healthy job, first with the machine quiet, then busy"
	@$(BIN)/python benchmarks/false_alarms.py --minutes 3 $(ARGS)
	@$(BIN)/python benchmarks/false_alarms.py --minutes 3 --busy $(ARGS)

lint: $(VENV)/.developer ## check style, format, types and who may import whom
	@echo "==> ruff: style"
	@$(BIN)/ruff check
	@echo "==> ruff: format"
	@$(BIN)/ruff format --check
	@echo "==> mypy: types"
	@$(BIN)/mypy
	@echo "==> import-linter: floors"
	@$(BIN)/lint-imports

docs: $(VENV)/.developer ## build the documentation into site/
	@echo "==> zensical: documentation into site/"
	@$(BIN)/zensical build --clean --strict --strict

clean: ## remove the virtual environment and everything that was built
	@echo "==> removing $(VENV), caches and built files"
	@rm -rf $(VENV) build dist site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are made last, so that an install that broke off is begun again; a change of pyproject.toml or of
# constraints.txt makes them stale.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: '$(PYTHON)' is not there: install Python 3.11 or newer, or name one with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11: name a newer one with PYTHON=" >&2; exit 1; }
	@echo "==> virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(ADD_VENV) && $(PYTHON) -m venv $(VENV); } || { \
		rm -rf $(VENV); echo "make: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "==> Offbeat with the service and torch into $(VENV); a few minutes, once"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.developer: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "==> Offbeat with the service, torch and the tools of its developers into $(VENV); a few minutes, once"
	@URLLIB3_NO_OVERRIDE=1 $(PIP) --no-binary urllib3-future -e '.[test,lint,docs,grafana]'
	@touch $@ $(VENV)/.demo
