# make demo     analyse the pictures in examples/ (does not install torch)
# make dev      install everything that training and development need
# make test     all tests
# make lint     style and types
# make bench    measure accuracy and speed; writes benchmarks/results/
# make docs     write the generated parts of the documentation again
# make clean    delete .venv, demo-output and build files

PYTHON ?= python3
# The real FER2013, for `make bench`: the fer2013.csv from Kaggle, with FER+'s fer2013new.csv beside
# it.
DATA ?= fer2013.csv

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
.DELETE_ON_ERROR:
.PHONY: demo dev test lint bench docs clean

demo: .venv/core
	$(BIN)/semblante analyze examples --annotate demo-output

dev: .venv/dev

test: .venv/dev
	$(BIN)/pytest --numprocesses auto --dist worksteal

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python benchmarks/accuracy.py --data $(DATA)
	$(BIN)/python benchmarks/reading.py --data $(DATA)
	mkdir -p runs
	$(BIN)/semblante data audit $(DATA) --lang en --out runs/audit > runs/audit.txt
	sed '/^pictures/d' runs/audit.txt > benchmarks/results/audit.txt
	$(BIN)/python benchmarks/robustness.py --data $(DATA)
	$(BIN)/python benchmarks/evidence.py --data $(DATA)
	$(BIN)/python benchmarks/early_exit.py --data $(DATA)
	$(BIN)/python benchmarks/latency.py

docs: .venv/dev
	$(BIN)/python docs/generate.py

# One environment in two stages: what recognition needs (core), and what development adds (dev).
# pip is updated because older versions do not know dependency groups. --no-compile saves 40 MB of
# bytecode, most of it of modules that are never imported.
.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "semblante needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

.venv/core: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	touch $@

.venv/dev: .venv/core
	$(BIN)/python -m pip install --quiet --group dev --editable '.[train,heic,parquet,pandas,audit,server,tensorboard]'
	touch $@

clean:
	rm -rf .venv demo-output build dist src/*.egg-info
