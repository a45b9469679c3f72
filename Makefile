# Everything a developer does. `make setup` first, which the others call; it leaves .venv/bin/pricelink.

PYTHON ?= python3
UV_VERSION := 0.13.9
WORKERS ?= 0
SEEDS ?= 1
PYTEST ?=
UP ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run up-native test test-kafka check audit format dashboards bench bench-all peers clean

help: ## Says what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Makes .venv with exactly what uv.lock says; does nothing where it is up to date.

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pricelink needs Python 3.11 or newer: try make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@$(BIN)/uv --version 2>/dev/null | grep -q '^uv $(UV_VERSION)' || $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON=$(BIN)/python $(BIN)/uv sync -q --frozen
	@touch $@

run: setup ## The whole thing on this machine: broker, Redis, worker, clock, page and a simulated market.
	@exec $(BIN)/pricelink run

up-native: setup ## What docker-compose.yml says, without Docker: Kafka, Redis, every process, Prometheus; UP='--profile core' for less.
	@exec $(BIN)/pricelink up-native $(UP)

test: setup ## The fast tests, then those with a broker, a Redis and a browser of their own.
	$(BIN)/pytest -q -n $(WORKERS)
	$(BIN)/pytest -q -m integration

test-kafka: setup ## Tests on a real Apache Kafka, with kills, bounces and rebalances; needs Java 17 and Maven. SEEDS=10 kills ten times.
	SEEDS=$(SEEDS) $(BIN)/pytest -q -m kafka tests/kafka $(PYTEST)

check: setup ## Format, lint, types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

audit: setup ## Bill of materials, known vulnerabilities, source, secrets in files; says what it could not check.
	@$(BIN)/python -m ops.audit

format: setup ## Puts the source into the shape that check wants.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dashboards: setup ## Builds Grafana's dashboards, ops/grafana/dashboards, from the code beside them.
	$(BIN)/python -m ops.grafana.build

bench: setup ## Throughput and latency on this machine, each bar and whether it holds; writes load_tests/results/latest.json.
	$(BIN)/python -m load_tests.bench

bench-all: setup ## Every measurement, embedded broker and Kafka, for an hour or so; writes docs/performance.md's tables.
	-$(BIN)/python -m load_tests.bench
	-$(BIN)/python -m load_tests.bench --kafka auto
	-$(BIN)/python -m load_tests.scaling
	-$(BIN)/python -m load_tests.growth --end-to-end
	-$(BIN)/python -m load_tests.delivery
	-$(BIN)/python -m load_tests.delivery --kafka auto
	-$(BIN)/python -m load_tests.idle
	-$(BIN)/python -m load_tests.idle --kafka auto
	-$(BIN)/python -m load_tests.memory
	-$(BIN)/python -m load_tests.recovery --kafka auto
	$(BIN)/python -m load_tests.bars --docs

peers: setup ## The same small task in Kafka Streams, Flink, csp, Bytewax, Faust, by hand and here, on one Kafka.
	$(BIN)/python -m load_tests.peers

clean: ## Removes what the others made, but for what Kafka keeps in .cache/kafka-data.
	find .cache -mindepth 1 -maxdepth 1 ! -name kafka-data -exec rm -rf {} + 2>/dev/null || true
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
