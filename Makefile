# Everything happens in .venv; `make clean` removes it.
PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
# Errors only: pip's progress is noise, its failures are not.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
INSTALL := $(PIP) install --require-hashes
# No network, no second environment: the build backend is installed, with hashes.
INSTALL_SELF := $(PIP) install --no-deps --no-build-isolation --editable .
# What changes the installed project: its version, its dependencies, its command.
SELF := pyproject.toml src/livepost/__init__.py

.PHONY: help demo test check bench requirements clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@echo 'make demo          send sample records to a practice server, and compare with one connection per record'
	@echo 'make test          run all tests'
	@echo 'make check         lint, formatting, types, import floors'
	@echo 'make bench         measure against other programs; writes benchmarks/RESULTS.md'
	@echo 'make requirements  pin the requirements again (needs uv; UPGRADE=--upgrade for newer versions)'
	@echo 'make clean         remove .venv and all caches'

demo: $(VENV)/run.stamp
	@$(BIN)/livepost demo

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --check --quiet . || { echo 'not formatted as .venv/bin/ruff format would (see --diff)' >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/test_floors.py

bench: $(VENV)/bench.stamp
	@$(BIN)/python benchmarks/run.py

$(VENV)/created.stamp:
	@command -v '$(PYTHON)' >/dev/null || { echo 'there is no $(PYTHON): install Python 3.11 or newer, or name it: make PYTHON=/path/to/python' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "livepost needs Python 3.11 or newer and $(PYTHON) is $$('$(PYTHON)' -V 2>&1): name a newer one with make PYTHON=python3.11" >&2; exit 1; }
	@said=$$('$(PYTHON)' -m venv --clear $(VENV) 2>&1) || { rm -rf $(VENV); printf '%s\n' "$$said" '$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv' >&2; exit 1; }
	@touch $@

$(VENV)/run.stamp: $(VENV)/created.stamp requirements/run.txt requirements/build.txt $(SELF)
	@echo 'installing livepost into $(VENV)' >&2
	@$(INSTALL) -r requirements/run.txt -r requirements/build.txt
	@$(INSTALL_SELF)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/created.stamp requirements/dev.txt $(SELF)
	@echo 'installing livepost and its test tools into $(VENV)' >&2
	@$(INSTALL) -r requirements/dev.txt
	@$(INSTALL_SELF)
	@touch $@

$(VENV)/bench.stamp: $(VENV)/created.stamp requirements/bench.txt $(SELF)
	@echo 'installing livepost and what it is measured against into $(VENV)' >&2
	@$(INSTALL) -r requirements/bench.txt
	@$(INSTALL_SELF)
	@touch $@

# Pins that still fit stay.  The other files take their versions from dev.txt, so all fit into one environment.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--annotation-style line --custom-compile-command 'make requirements' $(UPGRADE)
WITHIN_DEV = --constraints requirements/dev.txt

requirements:
	@command -v '$(UV)' >/dev/null || { echo 'there is no $(UV): install uv, or name it: make requirements UV=/path/to/uv' >&2; exit 1; }
	@$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt
	@$(COMPILE) $(WITHIN_DEV) pyproject.toml --output-file requirements/run.txt
	@$(COMPILE) $(WITHIN_DEV) pyproject.toml --group build --group bench --output-file requirements/bench.txt
	@$(COMPILE) $(WITHIN_DEV) --group build --output-file requirements/build.txt

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
