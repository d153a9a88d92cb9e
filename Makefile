# `make demo` and `make test` start from a bare clone; everything is installed in .venv.
# A Python that runs and is 3.11 or 3.12; name another with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)
EXTRA ?= cpu
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo demo-small install test test-slow check bench demo-seeds clean

demo: install
	dvc repro
	@mcr metrics
	@echo "The report: $(CURDIR)/data/reports/index.html"

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found."; echo "hint: install one, or run make PYTHON=/path/to/python."; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRA),dev]"
	touch $@

test: install
	pytest

test-slow: install
	pytest -m slow

demo-small: install
	pytest -m "demo and not slow"

check: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports

bench: install
	python benchmarks/aggregate.py
	python benchmarks/store.py
	python benchmarks/train.py
	python benchmarks/encode.py

clean:
	rm -rf .venv data/shards data/embeddings data/pairs data/models data/metrics data/reports data/sweeps data/spaces data/demo/raw
