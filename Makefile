# AI usage events. `make` alone says what there is.

PATH_UV := $(shell command -v uv 2>/dev/null)
UV := $(or $(PATH_UV),$(CURDIR)/.local/tools/bin/uv)
PYTHON := .venv/bin/python
EXTRAS := ingest-api ingest-consumer graphql migrations sync retention canary parquet
PROCESSES ?= 3
PYTEST := $(PYTHON) -m pytest --numprocesses $(PROCESSES) --no-loadscope-reorder
LOCK := $(UV) pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --python-version 3.13 \
	--universal --custom-compile-command "make lock"

# Images of Python often forbid to keep what was compiled. The tests start hundreds of processes, and each would compile
# all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup start stop demo unit test soak bench lint format docs reference schema lock clean pages browser

help: ## Say what there is (this)
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make the environment (.venv); the other targets do it by themselves

start: setup ## Bring the local stack up; it stays until Ctrl-C or `make stop`
	@$(PYTHON) -m infra.local start

stop: setup ## Stop the local stack
	@$(PYTHON) -m infra.local stop

demo: setup ## Bring the stack up, send every event by HTTPS and by the queue, show what is stored, stop
	@$(PYTHON) -m infra.local demo

unit: setup ## Run the tests that need no server
	@$(PYTEST) tests/unit

test: setup browser ## Run every test
	@$(PYTEST)

soak: setup browser ## Run every test, the long ones in full
	@SOAK=1 $(PYTEST)

bench: setup ## Run the benchmarks; `make bench ARGS=consume` runs one part
	@$(PYTHON) -m tests.bench $(ARGS)

lint: setup docs .venv/.platforms .venv/.templates ## Check format, rules, types, imports, locks and templates; build the documentation
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo

format: setup ## Put the code into ruff's format
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

docs: setup ## Build the documentation into .local/docs; a link that leads nowhere is an error
	@$(PYTHON) -m sphinx --nitpicky --fail-on-warning --quiet --doctree-dir .local/docs/.doctrees docs .local/docs

reference: setup ## Write the tables of docs/ that are made from the code
	@$(PYTHON) -m infra.docs

schema: setup ## Print the GraphQL schema into functions/graphql/schema.graphql
	@$(PYTHON) -m infra.cli schema > functions/graphql/schema.graphql

lock: $(UV) ## Lock the newest versions that pyproject.toml allows into requirements/
	@$(LOCK) --upgrade --extra dev --output-file requirements/dev.txt
	@for extra in $(EXTRAS); do \
		$(LOCK) --upgrade --extra $$extra --constraint requirements/dev.txt --no-annotate \
			--output-file requirements/$$extra.txt || exit 1; \
	done

clean: ## Remove what the targets made, the local stack's data too
	@if [ -e .local/stack.json ]; then echo "The local stack is running: make stop first."; exit 1; fi
	@rm -rf .venv .local .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist

.venv/.ready: pyproject.toml requirements/dev.txt .python-version | $(UV)
	@test -x $(PYTHON) || $(UV) venv --quiet .venv
	@$(UV) pip sync --quiet --python $(PYTHON) --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(PYTHON) --no-deps --editable .
	@touch $@

# The built pages and a Chromium, which tests need; where nothing changed, in tens of milliseconds.
pages: setup ## Build the dashboard and GraphiQL, if something changed
	@$(PYTHON) -m infra.front_end

browser: pages ## Install a Chromium, for the tests of the pages and the picture of `make demo`
	@$(PYTHON) -m infra.local.browser

# Asks the package index, so it is made again only when a lock or a tool's version may have changed.
.venv/.platforms: $(wildcard requirements/*.txt infra/local/aws.py infra/local/deploy.py \
		tests/integration/localstack.py tests/platforms.py tests/templates.py) | .venv/.ready
	@$(PYTHON) -m tests.platforms
	@touch $@

# Takes most of a minute, so it is made again only when a template or a tool's version may have changed.
.venv/.templates: $(wildcard infra/*.yaml infra/local/deploy.py tests/templates.py) requirements/dev.txt | .venv/.ready
	@$(PYTHON) -m tests.templates
	@touch $@

# Only where no uv is on the PATH.
$(CURDIR)/.local/tools/bin/uv:
	@echo "Installing uv into .local/tools"
	@python3 -m venv .local/tools
	@.local/tools/bin/pip install --quiet --disable-pip-version-check uv

# Packages: `sam build` makes build-<resource> for each function of infra/template.yaml. A package holds the locked
# dependencies of its own extra (installed once into .local/packages), the definitions and its own code.
#
# Packages for AWS hold wheels for the template's parameter Architecture, whose folder below infra/architectures has a
# Makefile that passes it on. With PACKAGES_FOR=host they hold wheels for this machine: the local stack and the tests run
# the functions here. An empty platform is uv's own idea of the machine.
PACKAGES_FOR ?= template
ARCHITECTURE ?= x86_64
PLATFORM_x86_64 := x86_64-manylinux_2_28
PLATFORM_arm64 := aarch64-manylinux_2_28
PLATFORM_Linux-x86_64 := $(PLATFORM_x86_64)
PLATFORM_Linux-aarch64 := $(PLATFORM_arm64)
PLATFORM_Darwin-arm64 := aarch64-apple-darwin
HOST = $(shell uname -sm | tr ' ' '-')
PLATFORM_OF_host = $(PLATFORM_$(HOST))
PLATFORM_OF_template = $(or $(PLATFORM_$(ARCHITECTURE)),$(error There are no packages for $(ARCHITECTURE)))

BUILDS := $(addprefix build-,IngestFunction ConsumerFunction SyncFunction RetentionFunction GraphqlFunction \
	MigrationsFunction CanaryFunction)
.PHONY: $(BUILDS) check-definitions

build-IngestFunction: EXTRA := ingest-api
build-IngestFunction: CODE := functions/ingest
build-ConsumerFunction: EXTRA := ingest-consumer
build-ConsumerFunction: CODE := functions/ingest
build-SyncFunction: EXTRA := sync
build-SyncFunction: CODE := functions/sync infra/migrations/clickhouse
build-RetentionFunction: EXTRA := retention
build-RetentionFunction: CODE := functions/retention
build-GraphqlFunction: EXTRA := graphql
build-GraphqlFunction: CODE := functions/graphql
build-GraphqlFunction: PAGES = $(PYTHON) -m infra.front_end --into $(ARTIFACTS_DIR)/functions/graphql/pages
build-GraphqlFunction: SCHEMA = $(PYTHON) -m infra.compiled_schema --into $(ARTIFACTS_DIR)
build-CanaryFunction: EXTRA := canary
build-CanaryFunction: CODE := functions/canary
build-MigrationsFunction: EXTRA := migrations
build-MigrationsFunction: CODE := infra/__init__.py infra/deployment.py infra/doctor infra/migrations

$(BUILDS): OWN = definitions functions/__init__.py functions/shared $(CODE)
# `sam build` makes each package by a make of its own; who has checked the definitions before them all says so.
$(BUILDS): $(if $(DEFINITIONS_CHECKED),setup,check-definitions)
	@$(PYTHON) -m infra.package --uv $(UV) --extra $(EXTRA) --platform "$(PLATFORM_OF_$(PACKAGES_FOR))" \
		--into $(ARTIFACTS_DIR) $(OWN)
	@$(PAGES)
	@$(SCHEMA)

check-definitions: setup
	@$(PYTHON) -m infra.cli definitions check --offline >&2
