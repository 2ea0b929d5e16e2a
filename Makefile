# `make train` and `make test` need nothing but Python (3.10 or newer), pip and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
PYTEST := $(RUN) -m pytest -n 2 --dist worksteal
NOTEBOOK := $(if $(SHORT),logs/tutorial/short.ipynb,docs/from-reinforce-to-ppo.ipynb)

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow check format lint types test-install test-oldest mutants mutation fuzz proofs bench bench-speed bench-ladder tutorial dist clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(VENV)/.installed  ## make .venv with this project (editable) and its tools

# What `make train` and `make bench` need. Their first process compiles what it imports: a quarter of the time of compiling all.
train bench: export PYTHONDONTWRITEBYTECODE =
$(VENV)/.runnable: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (a minute or more the first time) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --no-compile --editable .
	@touch $@

$(VENV)/.installed: $(VENV)/.runnable
	@echo "Adding the tools (a minute or more the first time) ..."
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@$(RUN) -W ignore -m compileall -qq $(VENV)/lib || true  # examples of some packages are no Python 3
	@touch $@

train: $(VENV)/.runnable  ## train an agent on LunarLander-v2 with the main command
	$(RUN) -m rl_zoo3.train --algo ppo_scratch --env LunarLander-v2
	@run=$$(ls -td logs/ppo_scratch/LunarLander-v2_* | head -n 1); \
	$(RUN) -c "import numpy, sys; print('Last evaluation: mean return %.1f' % numpy.load(sys.argv[1])['results'][-1].mean())" $$run/evaluations.npz; \
	echo "The agent:  $$run/LunarLander-v2.zip"; \
	echo "Watch it:   $(RUN) -m rl_zoo3.enjoy --algo ppo_scratch --env LunarLander-v2 -f logs"; \
	echo "Film it:    $(RUN) -m rl_zoo3.record_video --algo ppo_scratch --env LunarLander-v2 -f logs --no-render"

test: setup  ## run the tests and doctests, but those of test-slow and test-install
	$(PYTEST) -m "not slow and not install" --doctest-modules sb3_ppo_scratch tests

test-slow: setup  ## run the tests that train for long, or start several processes that train
	$(PYTEST) -m slow tests

check: setup format lint types test  ## what every change has to pass: format, lint, types, tests

format: setup
	$(RUN) -m ruff format --check .

lint: setup
	$(RUN) -m ruff check .

types: setup
	$(RUN) -m mypy

test-install: setup  ## build sdist and wheel, install each in a fresh environment, run every promised command there
	$(RUN) -m pytest -m install tests/install

test-oldest: setup  ## run the tests with the oldest versions that pyproject.toml allows (torch excepted)
	PYTHON=$(PYTHON) bash tests/install/oldest.sh

mutants: setup  ## plant known mistakes one by one and show that the tests notice each
	$(RUN) -m tests.mutants

mutation: setup  ## let mutmut change every expression of the mathematics and the wrappers one by one (hours; docs/results/mutation.md)
	$(PIP) install --constraint constraints.txt mutmut==3.8.1
	OMP_NUM_THREADS=1 $(VENV)/bin/mutmut run
	$(VENV)/bin/mutmut results

proofs: setup  ## prove at full length what docs/reliability.md promises (hours; SHORT=1: minutes, in logs/)
	for proof in resume kills landers leaks watching; do $(RUN) -m tests.proofs.$$proof $(if $(SHORT),--short) || exit 1; done

fuzz: setup  ## try random spaces, options and wrappers, beside stock PPO (five minutes; EXAMPLES=100: a quarter of one)
	$(RUN) -m tests.fuzz --examples $(or $(EXAMPLES),3000)

bench: $(VENV)/.runnable  ## train PPOScratch and stock PPO on CartPole with five seeds each, and report (less than three minutes)
	$(RUN) -m sb3_ppo_scratch benchmark run small
	$(RUN) -m sb3_ppo_scratch benchmark report logs/benchmark/small --trusted

bench-speed: setup  ## measure speed, memory and returns beside stock PPO (an hour and a quarter; QUICK=1: two minutes)
	$(RUN) -m sb3_ppo_scratch benchmark speed $(if $(QUICK),--quick,--growth)

bench-ladder: setup  ## train every rung from REINFORCE to PPO beside stock PPO (QUICK=1: a twentieth of the steps, one seed)
	$(RUN) -m sb3_ppo_scratch benchmark ladder $(if $(QUICK),--share 20 --seeds 1 --out logs/ladder/report)

tutorial: setup  ## run the tutorial as a notebook, which draws its figures (half an hour; SHORT=1: two minutes, in logs/)
	@mkdir -p logs/tutorial
	$(RUN) -m jupytext --quiet --to notebook --output $(NOTEBOOK) docs/from-reinforce-to-ppo.md
	SHORT=$(SHORT) $(VENV)/bin/jupyter-execute --inplace $(NOTEBOOK)

dist: setup  ## build sdist and wheel into dist/
	rm -rf dist
	$(RUN) -m build --outdir dist .
	$(RUN) -m twine check --strict dist/*

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(VENV)-oldest build dist *.egg-info mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis
