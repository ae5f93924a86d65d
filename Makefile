# Set-up, the main job and the checks. PYTHON names the interpreter to build the virtual environment with (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
# threads that wait for a busy core by spinning make everything slower on a shared machine
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint readme clean

## the main job on demo music: virtual environment, install, 25 epochs of step 7
demo: .venv/installed
	$(BIN)/python step7_cnn.py --epochs 25

## lint and tests
test: .venv/installed-dev lint
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .

## README's figures anew from docs/figures.json
readme: .venv/installed-dev
	$(BIN)/python -m docs.fill_readme

clean:
	rm -rf .venv demo_data cache runs

.venv/installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@
