# Each target works alone on a fresh machine with Python 3.11 or newer.
# TORCH_INDEX: package index to take torch from, for example PyTorch's CPU index; without it, pip's own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
ROUNDS := 10

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check chaos power results bench gpu clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqsweep needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m seqsweep.models.compiled
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

chaos: $(VENV)/installed  ## kill controllers, workers and nodes a thousand times, fill the disk: an hour; goes on where it was
	$(BIN)/python tests/chaos/campaign.py --totals .chaos.json --write benchmarks/results/chaos.md

power: $(VENV)/installed  ## take each transaction, lease check, retry guard, replay guard and lock away: a test must turn red
	$(BIN)/python tests/power/removals.py --write benchmarks/results/power.md

results: $(VENV)/installed  ## run the pipelines whose code or data changed, write pipelines/README.md; TASK=electricity or list, SEEDS=1,2,3
	$(BIN)/python benchmarks/pipelines.py $(TASK) $(if $(SEEDS),--seeds $(SEEDS))

$(VENV)/rivals: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	touch $@

bench: $(VENV)/rivals  ## seqsweep and its rivals on the same work, hours on a quiet machine; a first look: ROUNDS=2
	$(BIN)/python benchmarks/orchestration.py --rounds $(ROUNDS) --contestants bare seqsweep tune-reuse optuna
	$(BIN)/python benchmarks/orchestration.py --rounds $(ROUNDS) --contestants seqsweep tune --page orchestration-tune
	for cell in gru elman; do $(BIN)/python benchmarks/orchestration.py --rounds $(ROUNDS) --cell $$cell \
		--contestants bare seqsweep || exit 1; done
	$(BIN)/python benchmarks/loop.py --rounds $(ROUNDS)
	$(BIN)/python benchmarks/short_trials.py --rounds $(ROUNDS)
	$(BIN)/python benchmarks/cells.py benchmarks/results/cells.md
	$(BIN)/python benchmarks/outages.py --rounds $(ROUNDS)
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/quality.py electricity
	$(BIN)/python benchmarks/summary.py

GPU_TESTS := tests/training/test_cuda.py tests/training/test_triton_pack.py tests/training/test_gpu_pack.py \
	tests/models/test_triton_cells.py tests/models/test_triton_compile.py
GPU_PYTHON = PYTHONPATH=platform $(PYTHON)
gpu:  ## GPU tests and benchmarks, the latter whatever the tests say; $(PYTHON) needs only torch, numpy, pydantic, triton and pytest
	@failed=0; \
	$(GPU_PYTHON) -m pytest -c /dev/null --rootdir=. --confcutdir=tests/training -q -m "not slow" --durations=10 \
		-W ignore::pytest.PytestUnknownMarkWarning $(GPU_TESTS) || failed=1; \
	$(GPU_PYTHON) benchmarks/gpu_pack.py benchmarks/results/gpu_pack.md || failed=1; \
	$(GPU_PYTHON) benchmarks/gpu_pack.py benchmarks/results/gpu_pack_mixed.md --precision mixed --contexts 96 || failed=1; \
	$(GPU_PYTHON) benchmarks/gpu.py benchmarks/results/gpu.md || failed=1; \
	exit $$failed

clean:  ## remove what the demo wrote
	rm -rf $(DEMO)
