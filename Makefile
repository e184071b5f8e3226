# `make` lists what there is. `make run` and `make test` set everything up first; both are safe to repeat.
.DEFAULT_GOAL := help
.PHONY: help setup run test lint pytest docs hil fuzz mutants bench-kernels bench-train bench-attack bench-twin data clean zoo-add ablation comparison results
SHELL := /bin/bash

BIN := .venv/bin
JOB ?= jobs/digits.toml
C_SOURCES = $(shell git ls-files --cached --others --exclude-standard 'firmware/*.[ch]' 'firmware/*.cpp' 'pipeline/*.c' 'tests/*.[ch]' ':!tests/golden')
# Real data for the tests: TRITMCU_DATA if it is set, else what `make data` unpacked, else none (those tests are skipped).
DATA = $(or $(TRITMCU_DATA),$(if $(wildcard build/data/complete),$(CURDIR)/build/data))

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Debian/Ubuntu packages and .venv (PYTHON=... chooses the interpreter)
	@scripts/setup.sh

.PHONY: setup-tests
setup-tests: ## the same, plus what some tests need: AVR compiler and simulator, debugger, flashing tools
	@scripts/setup.sh tests

run: setup ## train, lower, attack, render, build, flash, stream, report (JOB=jobs/digits.toml)
	$(BIN)/tritmcu run $(JOB)

test: setup-tests data ## the linters, then every test that needs no hardware
	@$(MAKE) --no-print-directory lint pytest

lint: setup ## ruff, mypy, codespell, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)

pytest: setup ## the tests alone, a process per CPU (PYTEST='-k words -x' passes options on, '-n 0' uses one process)
	$(if $(DATA),TRITMCU_DATA='$(DATA)') $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST)

fuzz: setup-tests ## firmware and host against hostile bytes and devices (FUZZ_SECONDS=60, SESSIONS=200000)
	$(BIN)/python -m tests.fuzz.firmware $(or $(FUZZ_SECONDS),60)
	$(BIN)/python -m tests.fuzz.host $(or $(SESSIONS),200000)

mutants: setup-tests ## small changes to the code that no test notices, to docs/MUTANTS.md (hours; MUTANTS='--sample 40' tries some)
	$(BIN)/python -m bench.mutants $(MUTANTS)

docs: setup ## the documentation site in build/docs; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees -b html docs build/docs

hil: setup ## the tests of a board in hand (BOARD=..., PORT=..., UNIT=...; without BOARD all of rig.toml)
	TRITMCU_HIL_BOARD='$(BOARD)' TRITMCU_HIL_PORT='$(PORT)' TRITMCU_HIL_UNIT='$(UNIT)' \
		$(BIN)/python -m pytest tests/hil -v $(PYTEST)

bench-kernels: setup ## what the kernels cost on every core, beside CMSIS-NN (CMSIS_NN_ROOT=...; BENCH='--core cortex-m4f')
	@$(BIN)/python -m bench.kernels $(BENCH)

bench-train: setup ## what a training step costs: each regularization, beside float networks, in bfloat16 (two minutes)
	@$(BIN)/python -m bench.train

bench-attack: setup ## what a step of a white-box attack costs, beside ART on a Keras model (a minute)
	@$(BIN)/python -m bench.attack

bench-twin: setup ## images per second on this computer, beside TensorFlow Lite's kernels (needs TRITMCU_DATA)
	@$(BIN)/python -m bench.twin

data: setup ## unpack ../shared/data, where it exists, into build/data
	@if [[ -z "$$TRITMCU_DATA" && -f ../shared/data/unpack.py && ! -f build/data/complete ]]; then \
		mkdir -p build && $(BIN)/python ../shared/data/unpack.py build/data && touch build/data/complete; fi

zoo-add: setup ## an entry of the zoo from a finished run (RUN=runs/NAME)
	$(BIN)/python -m bench.zoo add '$(RUN)'

ablation: setup ## the sweep bench/ablation.toml: train and attack what is missing (hours; ABLATION="--cluster local")
	$(if $(DATA),TRITMCU_DATA='$(DATA)') $(BIN)/python -m bench.ablation $(ABLATION)

comparison: setup ## docs/COMPARISON.md from the zoo and stored trainings (COMPARISON=train: what is missing first, hours)
	$(if $(DATA),TRITMCU_DATA='$(DATA)') $(BIN)/python -m bench.comparison $(COMPARISON)

results: setup ## docs/RESULTS.md and the tables of README.md and docs/BOARDS.md from what is stored
	$(BIN)/python -m bench.results
	$(BIN)/python -m bench.front

clean: ## delete what was built (build, dist, caches); runs and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
