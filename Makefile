# What a person can do with a clone. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-fast pytest pytest-all lint lint-types lint-style vocabulary format docs docs-serve dist constraints clean

VENV := .venv
BIN := $(VENV)/bin
RULE ?= hsic

# The first Python on the path that is new enough; a shim that finds nothing behind it does not count.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# One process more than there are cores: many tests wait for processes that they have started.
WORKERS = $(shell $(BIN)/python -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

INSTALL := $(BIN)/python -m pip install --no-input --disable-pip-version-check --constraint constraints.txt

# Only what is installed in the environment counts, not what a shell happens to have on its path.
unexport PYTHONPATH PYTHONHOME

help: ## This list
	@echo "localrules: train PyTorch networks with local learning rules"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

run: $(VENV)/installed ## Set up, then watch a network learn faces without back-propagation (RULE=backprop: the control)
	@$(BIN)/python -m localrules run --rule $(RULE) --model dense_fpn_small --data faces

test: $(VENV)/installed-dev ## Set up, then check style, types, architecture, and run the tests
	@$(MAKE) --no-print-directory --jobs 2 lint-types pytest

pytest: lint-style
	@echo "==> pytest"
	@$(PYTEST) -m "not exhaustive"

test-all: $(VENV)/installed-dev ## As test, with the tests that repeat a check for every rule, moment and setting
	@$(MAKE) --no-print-directory --jobs 2 lint-types pytest-all

pytest-all: lint-style
	@echo "==> pytest"
	@$(PYTEST)

test-fast: $(VENV)/installed-dev ## The unit tests alone
	@$(PYTEST) -m "not slow and not installs and not exhaustive"

lint: $(VENV)/installed-dev ## Check style, types, spelling, vocabulary and architecture
	@$(MAKE) --no-print-directory --jobs 2 lint-types lint-style

lint-types: $(VENV)/installed-dev
	@echo "==> mypy"
	@$(BIN)/python -m mypy

lint-style: $(VENV)/installed-dev
	@echo "==> ruff check"
	@$(BIN)/python -m ruff check
	@echo "==> ruff format --check"
	@$(BIN)/python -m ruff format --check
	@echo "==> codespell"
	@$(BIN)/python -m codespell_lib
	@echo "==> vocabulary"
	@$(BIN)/python .ci/vocabulary.py
	@echo "==> lint-imports"
	@$(BIN)/lint-imports --no-logo

vocabulary: $(VENV)/installed-dev ## Find words that docs/glossary.md replaces by others
	@$(BIN)/python .ci/vocabulary.py

format: $(VENV)/installed-dev ## Format the code
	@$(BIN)/python -m ruff check --fix
	@$(BIN)/python -m ruff format

docs: $(VENV)/installed-docs ## Write the generated parts of the documentation, then build the site into site/
	@echo "==> generated parts"
	@$(BIN)/python docs/scripts/generate.py
	@echo "==> mkdocs build"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: $(VENV)/installed-docs ## Show the documentation on a local port; it follows changes of the pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

dist: $(VENV)/installed-dev ## Build the distributions into dist/, and check that PyPI can show their description
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/python -m twine check --strict dist/*

constraints: $(VENV)/installed-dev ## Renew constraints.txt: the newest releases that pyproject.toml allows
	@$(BIN)/python .ci/constraints.py

clean: ## Remove the environment and everything built; runs/ stays
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "localrules needs Python 3.11 or newer; with one elsewhere: make PYTHON=/path/to/python3"; exit 1; }
	@echo "==> a virtual environment in $(VENV), of $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# Stamps: an installation is renewed when what it depends on has changed.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "==> installing localrules and what it needs (PyTorch is large: some minutes)"
	@$(INSTALL) --editable .
	@touch $@

# Groups are known to pip since 25.1; what a new Python brings along may be older.
$(VENV)/installed-dev: $(VENV)/installed
	@echo "==> installing the tools that check it"
	@$(INSTALL) --upgrade 'pip>=25.1'
	@$(INSTALL) --group dev
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "==> installing the tools that build the documentation"
	@$(INSTALL) --upgrade 'pip>=25.1'
	@$(INSTALL) --group docs
	@touch $@
