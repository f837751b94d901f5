# `make` lists the targets. Everything runs from .venv, which is made anew when the pins change.
#
# PYTHON=python3.12   another interpreter for .venv
# ARGS="..."          more arguments for demo, test, faults and the benches
# BUILD="..."         more arguments for buildah, for container and container-test
# DATA=FOLDER         labelled data sets for bench-detection: nab/, skab/, msl/ (CONTRIBUTING.md)

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench bench-detection bench-retraining faults container container-test

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

venv: $(INSTALLED) ## build .venv with anomalyd, what it needs and the tools to work on it

demo: $(INSTALLED) ## a simulated plant with scripted faults, found by the real daemon
	$(BIN)/anomalyd demo $(ARGS)

test: $(INSTALLED) ## all tests, two files of them at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED) ## lint, format, types, floors and the shipped configuration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v promtool > /dev/null; \
	then promtool check config deploy/prometheus/prometheus.yml \
	&& promtool test rules tests/deploy/rules.yml; \
	else echo "no promtool: deploy/prometheus is not checked; install prometheus"; fi
	@if command -v amtool > /dev/null; \
	then amtool check-config deploy/alertmanager/alertmanager.yml; \
	else echo "no amtool: deploy/alertmanager is not checked; install prometheus-alertmanager"; fi

container: ## the image localhost/anomalyd, from BUILD="--build-arg BASE=..." or Docker's Python
	buildah bud --format docker --isolation chroot $(BUILD) \
	  -f deploy/container/Containerfile -t localhost/anomalyd .

container-test: $(INSTALLED) container ## build the image, run the demo in it without privileges
	ANOMALYD_IMAGE=localhost/anomalyd $(BIN)/python -m pytest -s tests/container $(ARGS)

bench: $(INSTALLED) ## cost per reading, against a subscriber that does nothing
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-detection: $(INSTALLED) ## how well it detects, next to simple rules, on DATA=FOLDER
	@test -n "$(DATA)" || { echo "say where the data sets are: make $@ DATA=FOLDER" >&2; exit 1; }
	$(BIN)/python -m tests.benchmarks.detection $(DATA) $(ARGS)

bench-retraining: $(INSTALLED) ## weeks of a plant that changes, with retraining and without
	$(BIN)/python -m tests.benchmarks.retraining $(ARGS)

faults: $(INSTALLED) ## kill, cut and fill what it stands on, and count what is lost
	$(BIN)/python -m tests.faults $(ARGS)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "anomalyd needs Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
	|| { echo "$(PYTHON) can't make a venv: install python3-venv (Debian, Ubuntu)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[demo,parquet,dev]'
	@touch $@
