# `make demo` and `make test` start from a bare clone; everything is installed in .venv.
# A Python that runs and is 3.11 or 3.12, as laion_clap needs; name another with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)
# cpu or gpu: which FAISS. Where nothing is said, the one that is installed stays.
EXTRA ?= $(or $(patsubst .venv/.installed-%,%,$(firstword $(wildcard .venv/.installed-*))),cpu)
OTHER_FAISS = $(filter-out faiss-$(EXTRA),faiss-cpu faiss-gpu)
GPU_PYTHON ?= 3.12
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo demo-small install test test-next test-slow test-extras check bench demo-seeds gpu gpu-wheels gpu-rehearsal coverage mutation faults faults-quick docs pictures package clean

demo: install
	dvc repro
	@mcr metrics
	@echo "The report: $(CURDIR)/data/reports/index.html"

install: .venv/.installed-$(EXTRA)

.venv/.installed-$(EXTRA): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found."; echo "hint: install one, or run make PYTHON=/path/to/python."; exit 2; }
	$(PYTHON) -m venv .venv
	@# faiss-cpu and faiss-gpu own the same folder: what stays of one breaks the other, so both go first.
	@if .venv/bin/pip show --quiet $(OTHER_FAISS) 2>/dev/null; then \
		echo "$(OTHER_FAISS) is replaced by faiss-$(EXTRA)"; \
		.venv/bin/pip uninstall --quiet --yes faiss-cpu faiss-gpu; \
	fi
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRA),clap,serve,docs,dev]"
	rm -f .venv/.installed*
	touch $@

test: install
	pytest

# The same numbers with the newest libraries: numpy 2, transformers 5, the newest Python there is, and no laion_clap.
PYTHON_NEXT ?= $(shell for python in python3.13 python3.12 python3.11; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)

.venv-next/.installed: pyproject.toml constraints-next.txt
	$(PYTHON_NEXT) -m venv .venv-next
	.venv-next/bin/pip install --quiet --disable-pip-version-check --constraint constraints-next.txt --editable ".[$(EXTRA),serve,dev]"
	touch $@

test-next: .venv-next/.installed
	PATH=$(CURDIR)/.venv-next/bin:$$PATH python -m pytest tests/retrieve tests/train tests/store tests/evaluate tests/encode \
		tests/connect tests/spaces tests/fetch

test-slow: install
	pytest -m slow

# The extras cpu, gpu and dev in fresh environments; minutes long, and it downloads a FAISS for each.
test-extras: install
	pytest -m extras tests/test_extras.py

# Everything that is to be known about a GPU, in ten minutes: docs/gpu.md.
gpu:
	bash benchmarks/gpu/run.sh

gpu-wheels: install
	GPU_PYTHON=$(GPU_PYTHON) bash benchmarks/gpu/wheels.sh

gpu-rehearsal: install
	python -m benchmarks.gpu.rehearse

# Real stages in which the N-th call fails, that are killed, fed with damage, raced. Full: hours; it goes on where it was
# cut off, `make faults SEED=1` draws other trials, and `make faults ROWS="kills power"` runs these rows alone. The table is
# printed into docs/promises.md.
SEED ?= 0
ROWS ?=

faults: install
	python -m tests.faults full --seed $(SEED) $(addprefix --row ,$(ROWS)) --folder .faults --results benchmarks/results/faults.json
	python -m tests.faults table

faults-quick: install
	python -m tests.faults quick --seed $(SEED) $(addprefix --row ,$(ROWS))

# Of statements and branches, in every process that the tests start. All of them where data is read in, joined and committed.
COVERED = pipeline/store/*,pipeline/retrieve/joined.py,pipeline/retrieve/located.py,pipeline/shard/sources/readers/*,pipeline/shard/catalogue.py

coverage: install
	coverage erase
	coverage run -m pytest
	coverage combine --quiet
	coverage report --skip-covered
	coverage report --skip-covered --fail-under=100 --include='$(COVERED)'

# Small mistakes in the modules of tests/mutation/modules.toml: which of them do their tests not notice? An hour.
mutation: install
	python -m tests.mutation --seed $(SEED) --results benchmarks/results/mutation.json

# The site, into site/; a link or an anchor that leads nowhere is an error.
docs: install
	PYTHONPATH=$(CURDIR) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

# Those of README and docs, from the demo that was made here.
pictures: install
	python -m benchmarks.pictures

# A wheel and an sdist in dist/, checked as the index checks them: metadata, description, files.
package: install
	python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	python -c "import setuptools.build_meta as build; build.build_sdist('dist')"
	pytest tests/package -k "wheel or sdist"

demo-small: install
	pytest -m "demo and not slow"

check: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# One table: ours, what one would take instead, the limit. On a machine that does nothing else: docs/performance.md.
bench: install
	python -m benchmarks.all.run

# What `make install` and the stages made. Weights, annotations and raw data may be yours: they stay.
clean:
	rm -rf .venv .venv-next site data/inputs data/shards data/embeddings data/pairs data/models data/metrics data/reports data/index data/likeness data/cache data/demo/raw
	find data/sweeps -mindepth 1 -not -path '*/tables' -not -name .gitkeep -delete
