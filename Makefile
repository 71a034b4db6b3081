# Two commands do everything: `make demo` colourises the sample film, `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format bench soak gpu gpu-convert clean

demo: .venv/core
	$(BIN)/kinochrome demo --out demo

test: .venv/dev check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.film --memory
	$(BIN)/python -m benchmarks.transport --seconds 60
	$(BIN)/python -m benchmarks.live
	$(BIN)/python -m benchmarks.scale --no-cluster
	$(BIN)/python -m benchmarks.fidelity
	$(BIN)/python -m benchmarks.readme

soak: .venv/dev
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.live --minutes 10
	$(BIN)/python -m benchmarks.kills

# On a machine with a CUDA GPU; needs no network. Meant to take less than 8 minutes; never run yet. Every step is run
# whatever became of those before it: a GPU may be lent for an hour. The tests are named, because the others import more
# than such a machine may have; the engine that `compile` asks for is the benchmark's own.
GPU_PYTHON ?= $(BIN)/python
GPU_TESTS := tests/test_ferry.py tests/test_media.py tests/test_runtime_tensorrt.py
gpu:
	-$(GPU_PYTHON) -m stream doctor
	failed=0; \
	$(GPU_PYTHON) -m benchmarks.gpu || failed=1; \
	$(GPU_PYTHON) -m benchmarks.report || failed=1; \
	FAIL_WITHOUT_CUDA=1 $(GPU_PYTHON) -m pytest -m gpu $(GPU_TESTS) || failed=1; \
	$(GPU_PYTHON) -m stream compile --live --size 1920x1080 || failed=1; \
	exit $$failed

# Without a GPU: exports, converts and builds the engines' graphs. Needs 8 GB of disk for an environment of its own.
gpu-convert: .venv-convert/ready
	.venv-convert/bin/python -m benchmarks.convert

clean:
	rm -rf .venv .venv-convert tests/node/node_modules build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kinochrome needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/core

.venv-convert/ready: pyproject.toml
	$(PYTHON) -m venv .venv-convert
	.venv-convert/bin/python -m pip install --quiet --editable '.[rtx]'
	touch $@
