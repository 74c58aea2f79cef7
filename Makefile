# The front door: every target does the set-up it needs, and costs seconds when nothing changed.
#
#   PYTHON   the Python that makes .venv             (python3; Debian 12's is enough)
#   TORCH    the torch to build against, for pip     (torch==2.13.0; may carry pip options such as an index)
#   WERROR   whether warnings stop the build         (ON)
#   JOBS     compilers at once                       (by cores and memory)
#   INSTALL_PYTHON  whose environment `make install` uses  (.venv's)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

export PYTHON ?= python3
export TORCH ?= torch==2.13.0
export WERROR ?= ON
export JOBS ?=
INSTALL_PYTHON ?= .venv/bin/python
VENV := .venv/bin/python

.PHONY: help demo test build check format bench docs mutate slow install setup setup-run lock clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup:  ## packages of apt.txt and .venv with everything the tests need
	@scripts/setup.sh dev

setup-run:
	@scripts/setup.sh run

build: setup-run  ## build/release/smidgen and its libraries
	@scripts/build.sh release

demo: build  ## tune a real language model and show that it learned
	@$(VENV) scripts/demo.py

test: setup  ## everything that proves the parts; closes with one line of counts
	@$(VENV) scripts/run_tests.py

slow: setup  ## the tests marked slow, and everything again with GCC
	@$(VENV) scripts/run_tests.py --slow

check: setup  ## formatting, include directions, docs, file sizes, and a build with warnings as errors
	@$(VENV) scripts/check.py
	@scripts/build.sh release

format: setup  ## rewrite the C++ sources with the pinned clang-format
	@$(VENV) scripts/check.py --fix-format

bench: demo setup  ## micro-benchmarks, and every claim against its peer; QUICK=1 only shows that they run
	@scripts/build.sh bench
	@mkdir -p build/bench/results
	@for program in build/bench/*_bench; do [[ -x $$program ]] || continue; echo "$$program"; \
	  "$$program" $(if $(QUICK),--benchmark_min_time=0.01) --benchmark_out=build/bench/results/$$(basename "$$program").json; done
	@$(VENV) bench/all.py $(if $(QUICK),--quick)

docs: setup build  ## check the docs and run every command block in them
	@$(VENV) scripts/check.py docs_rows docs_links docs_fences docs_targets
	@$(VENV) -m pytest -q tests/command/test_docs.py

mutate: setup  ## break the code in committed ways; every mutant must be caught
	@$(VENV) scripts/mutate.py

install: setup-run  ## pip install . into INSTALL_PYTHON's environment
	@$(INSTALL_PYTHON) -m pip install .

lock: setup
	@scripts/lock.sh

clean:  ## remove what the build made
	rm -rf build dist

distclean: clean  ## remove .venv as well
	rm -rf .venv
