# The front door. `make demo` and `make test` set up all that they need; see README.md.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NEEDED_GB := 8

.PHONY: help install demo demos docs test test-slow test-browser test-matrix bench lint lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with everything (once; again only when dependencies change)

$(STAMP): pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "no python3 found: install Python 3.11 or newer, or pass PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v.major}.{v.minor} at {sys.executable} is too old: 3.11 or newer is needed; pass PYTHON=/path/to/python3.11")'
	@test -d $(VENV) || $(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(0 if free >= $(NEEDED_GB) else f"{free:.1f} GB of disk are free here and $(NEEDED_GB) GB are needed: make room, or see README.md for CPU-only torch")'
	@echo "installing into $(VENV): torch's wheel from PyPI brings several GB of CUDA libraries along (README.md tells how to do without)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@UV=$$(command -v uv || echo $(BIN)/uv); UV_PROJECT_ENVIRONMENT=$(VENV) $$UV sync --frozen --all-extras --python $(BIN)/python
	@touch $@

demo: $(STAMP) ## the main job: train, extract, idealize, control (a few minutes)
	$(BIN)/grok-interp demo --out out/demo

test: $(STAMP) ## unit tests, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

demos: $(STAMP) ## run the notebooks in demos/ (each under three minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --nbmake --nbmake-timeout=300 -o addopts= -W default --durations=0 --durations-min=1 demos/*.ipynb

docs: $(STAMP) ## build the site, running the code of its pages: docs/_build/html/index.html (minutes)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --jobs 2 -b html docs docs/_build/html

test-slow: $(STAMP) ## tests that train for longer
	$(BIN)/python -m pytest -m slow --durations=12

test-browser: $(STAMP) ## the report in a real browser; needs an installed Chromium
	@test -n "$${CHROMIUM:-$$(command -v chromium || command -v google-chrome)}" || { echo "no Chromium found: install one (on Debian: apt-get install chromium), or set CHROMIUM to its path"; exit 1; }
	$(BIN)/python -m pytest -m browser

test-matrix: $(STAMP) ## tests of hooks under each transformer-lens that is supported
	$(BIN)/python tests/matrix.py

bench: $(STAMP) ## ratios that performance is held to; wants an idle machine
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/ensemble.py
	$(BIN)/python benchmarks/extract.py
	$(BIN)/python benchmarks/hooks.py
	$(BIN)/python benchmarks/sweep.py

lint: $(STAMP) ## ruff, mypy, the layering, and the lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/uv lock --check --quiet
	@$(BIN)/uv export --frozen --all-extras --no-emit-project --quiet --no-header | diff -q - requirements.txt >/dev/null || { echo "requirements.txt is not what uv.lock exports: run 'make lock'"; exit 1; }

lock: $(STAMP) ## write uv.lock and requirements.txt anew after changing dependencies
	$(BIN)/uv lock
	$(BIN)/uv export --frozen --all-extras --no-emit-project --quiet --no-header --output-file requirements.txt

clean: ## remove the environment and everything made
	rm -rf $(VENV) .matrix out docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
