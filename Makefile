# Two commands set up everything: `make demo` and `make test`. Each makes .venv if there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-oldest test-slurm bench-ntk bench-training bench-scale replications replications-quick docs dist lint clean

demo: $(VENV)/.installed  ## rich against lazy on five permuted-digit tasks, training to report
	$(BIN)/clntk run digits_rich_vs_lazy --store runs/demo
	$(BIN)/clntk report runs/demo

test: $(VENV)/.installed  ## the whole default test-suite
	$(BIN)/python -m pytest

test-oldest: $(VENV)/.installed  ## the same with the oldest releases of what clntk needs, in .venv-oldest
	$(BIN)/python -m pip install --quiet uv
	$(PYTHON) -m venv .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[test]'
	.venv-oldest/bin/python -m pytest -W default

test-slurm: $(VENV)/.installed  ## a sweep through a real SLURM, started on this machine alone: as root, with slurm-wlm and munge
	$(BIN)/python -m pytest -n 0 -m slow -rs tests/distributed/test_slurm.py

bench-ntk: $(VENV)/.installed  ## the tangent kernel beside its peers: about ten minutes; NT=path/to/python adds neural-tangents
	$(BIN)/python -m pip install --quiet --editable '.[ref]'
	$(BIN)/python benchmarks/ntk.py $(if $(NT),--neural-tangents $(NT))

bench-training: $(VENV)/.installed  ## training beside a hand-written loop and stock Avalanche: about three minutes
	$(BIN)/python benchmarks/training.py

bench-scale: $(VENV)/.installed  ## stores of 10,000 runs, cells that do nothing, a sweep and a large kernel on two workers: about fifteen minutes
	$(BIN)/python -W ignore benchmarks/scale.py

replications: $(VENV)/.installed  ## published results at full size, and one page on them; goes on where it was stopped
	$(BIN)/clntk replicate --workers 2 --store runs/replications

replications-quick: $(VENV)/.installed  ## the same with fewer seeds and wider tolerances
	$(BIN)/clntk replicate --quick --workers 2 --store runs/replications-quick

docs: $(VENV)/.installed  ## the documentation, examples executed, into docs/_build; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

dist: $(VENV)/.installed  ## wheel and sdist into dist/, checked
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

lint: $(VENV)/.installed  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "clntk needs Python 3.11 or newer, found " + sys.version.split()[0] + "; say which to use: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/generated
