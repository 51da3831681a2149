# Each target works alone on a fresh machine with Python 3.11 or newer.
# TORCH_INDEX: package index to take torch from, for example PyTorch's CPU index; without it, pip's own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check gpu clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqsweep needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/installed  ## build .venv

demo: $(VENV)/installed  ## the main job on real data: prepare, search, evaluate, register, promote
	@mkdir -p $(DEMO)
	@cd $(DEMO) && ../$(BIN)/seqsweep submit electricity

test: $(VENV)/installed  ## the fast tests
	$(BIN)/pytest -m "not slow and not cuda"

test-all: $(VENV)/installed  ## every test this machine can run
	$(BIN)/pytest

check: $(VENV)/installed  ## ruff, mypy, the fast tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow and not cuda"

gpu:  ## GPU tests and benchmark; $(PYTHON) needs only torch, numpy, pydantic, triton and pytest
	PYTHONPATH=platform $(PYTHON) -m pytest -c /dev/null --rootdir=. --confcutdir=tests/training -q \
		-W ignore::pytest.PytestUnknownMarkWarning tests/training/test_cuda.py
	PYTHONPATH=platform $(PYTHON) benchmarks/gpu.py benchmarks/results/gpu.md

clean:  ## remove what the demo wrote
	rm -rf $(DEMO)
