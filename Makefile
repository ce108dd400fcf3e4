# Every target does the set-up that it needs; the second time that takes no time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo up test test-fast conformance test-terraform test-install check lint format types imports bench clean

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup:  ## Make .venv with all that demo, tests and benchmarks need
	@$(PYTHON) deploy/bootstrap.py

demo: setup  ## Publish, serve, route, update and fail over, with real parts; ends with a report
	@$(BIN)/edgeward demo $(ARGS)

up: setup  ## Start the same network and stay; Ctrl-C stops it
	@$(BIN)/edgeward up $(ARGS)

test: setup  ## The tests: quick ones, then those with real servers and a real model
	@$(BIN)/python -m pytest -q
	@$(BIN)/python -m pytest -q -m system

test-fast: setup  ## Only the quick tests
	@$(BIN)/python -m pytest -q

conformance: setup  ## The official and other clients, each in an environment of its own, against a node
	@$(BIN)/python -m pytest -q -m conformance tests/conformance

test-terraform: setup  ## The Terraform modules, by the real Terraform on a stand-in for AWS
	@$(BIN)/python -m pytest -q -rs -m terraform tests/terraform

test-install: setup  ## The installation, upgrades and removal in a freshly booted Debian (systemd-nspawn, as root)
	@$(BIN)/python -m pytest -q -s -rs -m install tests/install

check: setup lint types imports  ## Lint, types and import contracts

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports

clean:  ## Remove what setup and up have made
	rm -rf $(VENV) .edgeward
