# Two commands for a newcomer: `make quickstart` and `make test`. Both make .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
# In place by a plain line in a .pth file: the finder that setuptools writes by default costs time at each start.
IN_PLACE := --config-settings editable_mode=compat --editable
# Compiles, and ends with a first use: the specs of this repository are checked by what was installed.
FIRST_USE := $(BIN)/python -m compileall -q runner converters eval && $(BIN)/runner validate specs
SOURCES := runner converters eval tests benchmarks

export HF_HUB_OFFLINE := 1
export AXOLOTL_DO_NOT_TRACK := 1
export DO_NOT_TRACK := 1

.PHONY: help quickstart test lint types unit attack docs constraints clean

help: ## what there is to make
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing runner with Axolotl into $(VENV) (some minutes) ..."
	@$(PIP_INSTALL) $(IN_PLACE) '.[train]' && $(FIRST_USE)
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing runner with all that its tests need into $(VENV) (some minutes) ..."
	@$(PIP_INSTALL) $(IN_PLACE) '.[train,eval,ecg,dev]' && $(FIRST_USE)
	@touch $@ $(VENV)/.train

quickstart: $(VENV)/.train ## install, then train, judge and report a tiny model on a CPU
	$(BIN)/runner launch specs/quickstart/llm.yaml

test: lint types unit ## install what the tests need, then lint, types and all tests

lint: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

attack: $(VENV)/.dev ## hostile specs, files and runs: make attack SECONDS=600 SEED=7, or CASE=... again
	ATTACK_SECONDS=$(or $(SECONDS),300) ATTACK_SEED=$(SEED) ATTACK_CASE=$(CASE) \
		$(BIN)/python -m pytest tests/attack/test_attack.py --capture no

docs: $(VENV)/.dev ## write the schema and the pages that are made from the code
	$(BIN)/python -m runner.docs

constraints: $(VENV)/.dev ## write down the versions that are installed, once the tests have passed with them
	@{ head -n 2 constraints.txt; $(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
		| sed "s/+cpu$$//"; } > constraints.new && mv constraints.new constraints.txt

clean: ## remove what was made here, runs excepted
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
