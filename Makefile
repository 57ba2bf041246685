# `make` lists what there is. Everything runs in .venv, which tools/setup.sh makes from constraints.txt.
.DEFAULT_GOAL := help
.PHONY: help demo demo-slurm test test-real oracles chaos chaos-slurm bench bench-slurm lint setup pin clean apps predict bench-quality
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

PY := .venv/bin/python
# Two workers fit two cores; the chaos and the integration tests start processes of their own.
WORKERS ?= 2
TRACES := $(wildcard ../shared/traces)
ifneq ($(TRACES),)
export TIDEGRID_TRACES ?= $(abspath $(TRACES))
endif

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

demo: ## three clusters as one network: real jobs, a failure half-way, the bill (ARGS="--json")
	@sh tools/setup.sh run
	@.venv/bin/tide demo $(ARGS)

demo-slurm: ## the same on real Slurm clusters: LAMMPS and GROMACS over MPI, a cluster taken away (packages: it says which)
	@sh tools/setup.sh run
	@.venv/bin/tide demo --slurm $(ARGS)

apps: ## every application from its one document, on embedded and real Slurm, by CLI, SDK and REST, its numbers checked (ARGS="--json")
	@sh tools/setup.sh dev
	@sh tools/real.sh apps
	@sh tools/jax.sh
	@$(PY) -m tests.apps.run $(ARGS)

test: ## everything that needs no system package (ARGS="-k name")
	@sh tools/setup.sh dev
	@echo "test: tests marked 'real' (they need PostgreSQL) are left to make test-real"
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not real and not slurm" $(ARGS)

test-real: ## the tests against real PostgreSQL, Slurm, ssh and MPI applications, installed with apt-get; skips nothing
	@sh tools/setup.sh dev
	@sh tools/real.sh
	@sh tools/jax.sh
	@TIDEGRID_NO_SKIP=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal -m "real" $(ARGS)

oracles: ## simulated schedules against published and stored ones, on the logs below TIDEGRID_TRACES (about a minute)
	@sh tools/setup.sh dev
	@$(PY) -m pytest -n 0 tests/oracles $(ARGS)

chaos: ## 1,000 jobs while servers and supervisors are killed, on SQLite and PostgreSQL, and the control; reports in reports/
	@sh tools/setup.sh dev
	@sh tools/real.sh
	$(PY) -m tests.chaos.run --database sqlite --report reports/chaos-sqlite $(ARGS)
	$(PY) -m tests.chaos.run --database postgres --report reports/chaos-postgres $(ARGS)
	$(PY) -m tests.chaos.run --database sqlite --fence off --late 0.3 --jobs 200 --kills 3 --supervisor-kills 1 --report reports/chaos-control

chaos-slurm: ## 500 jobs on three real Slurm clusters while they, sshd and the server are killed, and the control; reports in reports/
	@sh tools/setup.sh dev
	@sh tools/real.sh
	$(PY) -m tests.chaos.slurm --report reports/chaos-slurm $(ARGS)
	$(PY) -m tests.chaos.slurm --fence off --late 0.3 --jobs 120 --controller-kills 1 --cuts 1 --hangs 1 --server-kills 2 --keep-all --report reports/chaos-slurm-control

bench: ## placement, store and reconciliation as ratios against a peer in the same run; report in reports/bench.json
	@sh tools/setup.sh dev
	@$(PY) -m benchmarks $(ARGS)

bench-slurm: ## real Slurm clusters: against a plain sbatch loop, and how soon a dead cluster's jobs run elsewhere
	@sh tools/setup.sh dev
	@sh tools/real.sh
	@$(PY) -m benchmarks --real --report reports/bench-slurm.json $(ARGS)

predict: ## 520 real runs on four unlike partitions of this machine (10 minutes), each predicted before it is learnt; reports/runs.csv
	@sh tools/setup.sh dev
	@$(PY) -m benchmarks.runs.record reports/runs.csv $(ARGS)
	@$(PY) -m benchmarks.prediction reports/runs.csv | $(PY) -m json.tool

bench-quality: ## the default policy against the baseline, cross-validated, on the logs below TIDEGRID_TRACES (minutes); report in reports/
	@sh tools/setup.sh dev
	@$(PY) -m benchmarks quality --report reports/bench-quality.json $(ARGS)

lint: ## ruff, mypy, and who may import whom
	@sh tools/setup.sh dev
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

setup: ## the environment with all tools, and nothing else
	@sh tools/setup.sh dev

pin: ## write constraints.txt from what .venv holds
	@sh tools/pin.sh

clean: ## caches, reports and builds; .venv stays
	@rm -rf build dist reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print | xargs rm -rf
