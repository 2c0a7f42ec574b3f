# SPDX-License-Identifier: GPL-3.0-or-later
#
# make demo     the whole thing on this machine, in containers
# make test     what CI runs
# make proof    everything else; goes on where it stopped
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:

VENV := $(CURDIR)/.venv
# Tools call their siblings by name (molecule runs ansible-config).
export PATH := $(VENV)/bin:/usr/local/sbin:/usr/sbin:/sbin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

DEMO := python3 demo/demo.py
PLAY := ansible-playbook -i inventories/demo
SCENARIOS := $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# What CI has time for: what an operator does every week. The others run by name, and in the proof.
CI_SCENARIOS := backup deploy health restore rollback
PROOF_DONE := .build/proof
BENCH ?= health
CORE ?= 2.18

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## Install what is missing: Docker engine, .venv; start the engine
	@demo/setup.sh

.PHONY: requirements
requirements: setup ## Resolve requirements-*.in anew: versions and hashes in requirements-*.txt
	@for wanted in requirements-dev requirements-release; do
	  { sed -n 1p "$$wanted.in"
	    echo "# Made from $$wanted.in by \"make requirements\"."
	    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	      --no-annotate --no-header --no-emit-index-url "$$wanted.in"
	  } >".build/$$wanted.txt"
	  mv ".build/$$wanted.txt" "$$wanted.txt"
	done

.PHONY: demo
demo: setup ## The stack on a server in a container, deployed over ssh
	@$(DEMO) build
	$(DEMO) registries
	$(DEMO) up
	$(DEMO) secrets
	# What runs already is what is asked for again: a second "make demo" changes nothing.
	version=$$($(DEMO) version)
	$(PLAY) playbooks/bootstrap.yml
	$(PLAY) playbooks/deploy.yml -e deploy_version="$$version"
	$(PLAY) playbooks/health.yml
	$(DEMO) next

.PHONY: demo-clean
demo-clean: ## Remove the demo: containers, volumes, network, images, state
	@$(DEMO) clean

.PHONY: lint
lint: setup ## ansible-lint (production), yamllint, ruff, mypy, changelog
	@echo "lint: ruff" && ruff check . && ruff format --check .
	echo "lint: mypy" && mypy plugins awx demo/driver demo/demo.py molecule tests/bench
	echo "lint: yamllint" && yamllint --strict .
	echo "lint: ansible-lint" && ansible-lint -q
	echo "lint: changelog" && antsibull-changelog lint
	echo "lint: clean"

.PHONY: unit
unit: setup ## Unit tests of the engine and of the tree's own rules
	@pytest tests/unit

.PHONY: matrix
matrix: setup ## Unit tests and every playbook with the oldest ansible-core; CORE=2.19 for another
	@venv=.build/core-$(CORE)
	[[ -x $$venv/bin/python ]] || .venv/bin/python -m venv "$$venv"
	"$$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
	  -r requirements-dev.in 'ansible-core~=$(CORE).0'
	export PATH="$$PWD/$$venv/bin:$$PATH"
	ansible-playbook --version | sed -n 1p
	# One call: a playbook that cannot be read ends it.
	ansible-playbook --syntax-check -i inventories/staging playbooks/*.yml | grep -c '^playbook:'
	python -m pytest tests/unit

.PHONY: sanity
sanity: setup ## ansible-test sanity on a copy of the tree
	@tests/sanity/run.sh

.PHONY: molecule
molecule: images ## Scenarios of CI on a server of their own; SCENARIO=x for another
	@failed=""
	for scenario in $(or $(SCENARIO),$(CI_SCENARIOS)); do
	  echo "== molecule $$scenario"
	  SECONDS=0
	  # What it remembers of an earlier run would let it skip create and prepare.
	  molecule reset --scenario-name "$$scenario" >/dev/null 2>&1
	  # One that fails does not hide what the others would say; its server stays.
	  if molecule test --scenario-name "$$scenario" --destroy never; then
	    molecule destroy --scenario-name "$$scenario" >/dev/null 2>&1
	    echo "== molecule $$scenario: passed after $$SECONDS s"
	  else
	    failed+=" $$scenario"
	    echo "== molecule $$scenario: FAILED after $$SECONDS s"
	  fi
	done
	if [[ -n $$failed ]]; then echo "make molecule: failed:$$failed"; exit 1; fi

.PHONY: test
test: setup ## Everything that CI runs
	@# One core builds images and deploys what scenarios begin with, while the other one reads code.
	$(MAKE) --jobs=2 checks ground
	$(MAKE) molecule
	echo "make test: all passed"

.PHONY: checks images ground
checks:
	@$(MAKE) lint
	$(MAKE) unit
	$(MAKE) sanity

images: setup
	@$(DEMO) build
	$(DEMO) registries
	$(DEMO) secrets

# Kept as a snapshot; scenarios are reset to it.
ground: images
	@$(DEMO) --instance test up
	python3 molecule/shared/state.py v1

.PHONY: proof
proof: images ## The exhaustive tier; resumes; rm -r .build/proof to start over
	@mkdir -p $(PROOF_DONE)
	for scenario in $(or $(SCENARIO),$(SCENARIOS)); do
	  if [[ -e $(PROOF_DONE)/$$scenario ]]; then echo "== proof $$scenario: done before"; continue; fi
	  echo "== proof $$scenario"
	  molecule reset --scenario-name "$$scenario" >/dev/null 2>&1
	  CARRENTAL_TIER=proof molecule test --scenario-name "$$scenario" --destroy never
	  molecule destroy --scenario-name "$$scenario" >/dev/null 2>&1
	  touch $(PROOF_DONE)/$$scenario
	done
	echo "make proof: all passed"

.PHONY: bench
bench: images ## Measure; BENCH=health (default), peers, deploy, data, objects or tuning, into .build/bench
	@PYTHONPATH=molecule/shared python3 tests/bench/$(BENCH).py

.PHONY: awx
awx: setup ## What AWX shows, from the playbooks and their roles
	@python3 awx/generate.py

.PHONY: release
release: setup ## A release without the publishing: changelog, archive, importer, reference, SBOM
	@tests/release/run.sh

.PHONY: build
build: setup ## The archive of the collection
	@ansible-galaxy collection build --force --output-path .build
	# Without its version in the name, for execution-environment.yml.
	cp "$$(ls -t .build/carrental-ops-*.tar.gz | head -1)" .build/carrental-ops.tar.gz
	echo "install it with: ansible-galaxy collection install --force .build/carrental-ops-*.tar.gz -p PATH"
	echo "(--force, because inside this clone Ansible finds the clone itself and has nothing to do)"
