# What a person does here. `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_OPTIONS := $(if $(filter-out 0,$(SCRATCH)),--scratch) $(if $(ENV),--env $(ENV)) $(if $(AGENT),--agent $(AGENT))

.PHONY: help install demo test coverage lint types check constraints clean

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 20

install: $(INSTALLED)  ## make .venv with the pinned dependencies (about three minutes)

$(INSTALLED): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"foresee needs Python 3.11, $(PYTHON) is {v[0]}.{v[1]}; give another with: make PYTHON=python3.11" if v[:2] != (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

demo: $(INSTALLED)  ## run the main job as ROS 2 nodes (SCRATCH=1: train first; ENV=…, AGENT=file)
	$(BIN)/foresee demo $(DEMO_OPTIONS)

test: $(INSTALLED)  ## run the whole test suite
	$(BIN)/python -m pytest

coverage: $(INSTALLED)  ## branch coverage of controller/ by its own tests; fails below 95 %
	$(BIN)/coverage run -m pytest tests/controller
	$(BIN)/coverage report

lint: $(INSTALLED)  ## check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## check types with mypy
	$(BIN)/mypy

check: lint types coverage test  ## everything CI checks

constraints: $(INSTALLED)  ## write constraints.txt from what is installed
	(head -1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//') > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove .venv and caches (data, runs and bundles stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
