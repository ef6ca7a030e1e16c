# Two commands work on a fresh machine with nothing but Python (3.11 or newer) and make:
#   make demo   the main job on real input       make test   the whole test suite
# A folder .venv beside this file holds everything they install.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-long test-gpu smoke lint bench pictures schema clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py --page out/demo.html

test: .venv/installed
	$(BIN)/python -m pytest -n auto

test-long: .venv/installed
	$(BIN)/python -m pytest -n auto -m long

test-gpu: .venv/installed
	FADEOUT_DEVICE=cuda $(BIN)/python -m pytest tests/live/test_watch.py -k "bit or left_behind or norms_are"
	$(BIN)/python benchmarks/on_gpu.py

smoke: .venv/installed
	mkdir -p out
	$(BIN)/fadeout lab all --smoke --fresh --folder out/lab-smoke > out/lab-smoke.txt || (cat out/lab-smoke.txt; exit 1)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/cost.py --page docs/cost.md
	$(BIN)/python benchmarks/theory.py

pictures: .venv/installed
	$(BIN)/python docs/pictures.py

schema: .venv/installed
	$(BIN)/python -m fadeout.store.schema

clean:
	rm -rf .venv out .pytest_cache .mypy_cache .ruff_cache .hypothesis
