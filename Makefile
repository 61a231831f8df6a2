# Two words are enough on a fresh machine:  make repro   (the main job)   and   make test.
# Each target makes the virtual environment when it is missing. Another place:  make VENV=/path/env repro
# An interpreter that has everything already:  make PYTHON=/path/bin/python test   (nothing is installed then)
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv

ifeq ($(origin PYTHON), undefined)
PYTHON := $(VENV)/bin/python
REPRO_READY := $(VENV)/.installed-repro
TEST_READY := $(VENV)/.installed-test
endif

export PATH := $(abspath $(dir $(PYTHON))):$(PATH)
export DVC_NO_ANALYTICS := 1
export NO_ALBUMENTATIONS_UPDATE := 1
export WANDB_ERROR_REPORTING := false
export HF_HUB_OFFLINE := 1

.PHONY: help repro test test-all acceptance lint review sync web litert blocks paper clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | awk -F ':.*  ## ' '{printf "make %-12s%s\n", $$1, $$2}'

repro: $(REPRO_READY)  ## install, then rebuild whatever is stale: data to report
	@git rev-parse --git-dir >/dev/null 2>&1 || git init --quiet
	dvc repro

test: $(TEST_READY)  ## install, then the tests (minutes)
	$(PYTHON) -m pytest -n 2 --dist loadgroup --durations=15

test-all: $(TEST_READY)  ## the tests and the slow ones, with coverage and its floor (long)
	$(PYTHON) -m pytest -n 2 --dist loadgroup -m "not slurm and not acceptance" --cov --cov-report=term:skip-covered --cov-fail-under=85

acceptance: $(TEST_READY)  ## one test a numbered line of an issue, printing its figure (some hours)
	$(PYTHON) -m pytest tests/acceptance -m acceptance -s --timeout=7200

lint: $(TEST_READY)  ## style, types and floors
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	lint-imports

review: $(REPRO_READY)  ## compare the runs in one page, without an account
	$(PYTHON) -m pipeline review

sync: $(REPRO_READY)  ## upload the offline runs to a W&B server; again is harmless
	$(PYTHON) -m pipeline sync

web:  ## fetch onnxruntime-web for target=web, once (npm)
	mkdir -p .run/web && cp pipeline/target/page/package.json pipeline/target/page/package-lock.json .run/web/
	cd .run/web && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error

litert: $(REPRO_READY)  ## the converter of target=litert, once, in an environment of its own (1 GB)
	$(PYTHON) -m venv .run/litert
	$(PYTHON) -c "import sysconfig; print(sysconfig.get_paths()['purelib'])" > "$$(.run/litert/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")/zz_project.pth"
	.run/litert/bin/python -m pip install --quiet --disable-pip-version-check -r pipeline/target/litert.txt

blocks: $(REPRO_READY)  ## solar cells: the table over five blocks of modules
	$(PYTHON) -m benchmarks.elpv_blocks

paper: $(REPRO_READY)  ## solar cells: the protocol of the paper, beside its figures
	$(PYTHON) -m benchmarks.elpv_paper

clean:  ## remove artifacts, scratch and caches of tools; DVC's cache, the environment and the count of looks stay
	find data -mindepth 1 -maxdepth 1 ! -name raw ! -name README.md -exec rm -rf {} +
	[ ! -d .run ] || find .run -mindepth 1 -maxdepth 1 ! -name 'looks.*' -exec rm -rf {} +
	rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage .coverage.*

$(VENV)/bin/python:
	@for name in python3.11 python3.12 python3.13 python3; do \
	    if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        exec "$$name" -m venv $(VENV); \
	    fi; \
	done; \
	echo "error: no Python 3.11 or newer with its venv module was found (Debian: apt-get install python3-venv)" >&2; exit 1

$(VENV)/.installed-repro: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[datasets]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[datasets,dev,targets,import,quantise,serve,sign,remotes,slurm]'
	@touch $@ $(VENV)/.installed-repro
