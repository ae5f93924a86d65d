# Set-up, the main job and the checks. PYTHON names the interpreter to build the virtual environment with (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
# threads that spin while they wait slow everything down on a shared computer
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo all test lint soak readme clean

## the main job on demo music: virtual environment, install, 25 epochs of step 7
demo: .venv/installed
	$(BIN)/python step7_cnn.py --epochs 25

## every step, and the page that compares them with the write-up, runs/report.html; steps 5 to 10 with fewer epochs than the write-up
all: .venv/installed
	$(BIN)/python step0_data.py
	$(BIN)/python step1_visualize.py
	$(BIN)/python step5_lstm.py --epochs 5
	$(BIN)/python step7_cnn.py --epochs 12
	$(BIN)/python step7a_look_inside.py
	$(BIN)/python step8_regression.py --epochs 7
	$(BIN)/python step9_transfer.py --pretrain-epochs 5 --epochs 5
	$(BIN)/python step10_multitask.py --epochs 11
	$(BIN)/python build_report.py

## lint and tests
test: .venv/installed-dev
	$(MAKE) -j 2 lint .venv/compiled
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

## slow tests: kills, full disks, races, damaged files, planted faults, 14,000 mutated inputs, single files, the notebook
soak: export PYTHONPATH = .
soak: .venv/installed-dev
	$(BIN)/python tests/soak_runs.py
	$(BIN)/python tests/soak_damage.py
	$(BIN)/python tests/planted.py
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_music.py -s
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-notebook.txt -c constraints.txt
	$(BIN)/python -m pytest tests -m soak
	$(BIN)/python -m pytest tests/soak -m ""

## README's numbers, filled in from docs/figures.json
readme: .venv/installed-dev
	$(BIN)/python -m docs.fill_readme

clean:
	rm -rf .venv demo_data cache runs

.venv/installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

# compiles librosa's numerics once, before several processes would do it at the same time: see compile_extractor
.venv/compiled: .venv/installed-dev extras/own_data/extract.py
	$(BIN)/python -c "from extras.own_data.audio import compile_extractor; compile_extractor()"
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@
