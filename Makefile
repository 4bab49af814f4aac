# make demo   train on real digits with and without the callbacks   make test   everything that CI runs
# make bench   costs beside peers and gains over seeds, some 20 minutes; writes the CSVs of benchmarks/ and the two pages of them
# Each sets up what it needs: .venv with the package and its tools. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo bench cards test test-all lint new house docs run export release-check hooks clean

help:
	@sed -n '1,3p' Makefile; echo "others: make docs (the site), cards (method cards, after bench), test-all, lint, new NAME=... (a callback's stub), house (sizes of cells and modules), run (notebooks, storing outputs), export (notebooks to package and README), release-check, hooks (git), clean"

$(INSTALLED): pyproject.toml settings.ini setup.py
	@echo "Installing into $(VENV): torch with CUDA is some 6 GB, this takes a few minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[dev,bench,bnb,docs,ray]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -W ignore::FutureWarning benchmarks/demo.py

bench: $(INSTALLED)
	$(BIN)/python -W ignore benchmarks/cost.py
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/evidence.py
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/tuning.py
	$(BIN)/python benchmarks/pages.py

# The method cards and the guide that show rows of these results
cards: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore docs/run_notebooks.py `cd nbs && grep -rlE 'benchmarks/(cost|evidence|tuning).csv' --include=*.ipynb . | cut -c3-`
	$(BIN)/nbdev-clean

# Two processes of one thread each, the width of the machines that CI has
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED)
	$(PYTEST)

lint: $(INSTALLED)
	$(BIN)/python docs/lint.py

new: $(INSTALLED)
	$(BIN)/python docs/new.py $(NAME)

house: $(INSTALLED)
	$(BIN)/python docs/house.py

run: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore docs/run_notebooks.py

export: $(INSTALLED)
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python docs/readme.py

docs: export
	$(BIN)/python docs/build.py
	@echo "the site: _docs/index.html"

release-check: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python docs/release_check.py

hooks: $(INSTALLED)
	$(BIN)/nbdev-install-hooks

clean:
	rm -rf $(VENV) _docs _proc build dist *.egg-info benchmarks/out .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
