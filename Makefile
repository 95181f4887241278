# The only front door: `make` alone shows what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# debug or release: which build the stack, the demo and the process tests run.
PROFILE ?= debug
CARGO_PROFILE := $(if $(filter release,$(PROFILE)),--release,)
BINARIES := $(or $(CARGO_TARGET_DIR),target)/$(PROFILE)
STACK := deploy/local/stack
DATABASES := deploy/local/databases
export PROFILE

##@ The two to know

.PHONY: demo
demo: up ## Start everything on this machine and tell the whole story on it, step by step; the stack stays up.
	@$(STACK) with $(BINARIES)/demo

.PHONY: test
test: tools ## Every test (of one crate with PACKAGE=chat-api), on a PostgreSQL and a MongoDB that it starts itself.
	@$(DATABASES) with cargo test $(if $(PACKAGE),-p $(PACKAGE),--workspace) --no-fail-fast

##@ The local stack

.PHONY: up
up: build ## Start the stack (or find it running); ports: see deploy/local/settings.sh.
	@$(STACK) up

.PHONY: down
down: ## Stop the stack; its data stays.
	@$(STACK) down

.PHONY: status
status: ## What runs, where, and the last words of what does not.
	@$(STACK) status

.PHONY: logs
logs: ## Follow the logs; of one part with SERVICE=chat-api.
	@$(STACK) logs $(SERVICE)

.PHONY: clean
clean: ## Stop the stack and throw its data away; compiled code stays.
	@$(STACK) clean

##@ Development

.PHONY: build
build: tools ## Compile every binary, once for all that follows.
	@cargo build --workspace --bins $(CARGO_PROFILE)

.PHONY: tools
tools: ## Build the pinned tools into ./bin, and say what this machine lacks.
	@deploy/local/tools

.PHONY: lint
lint: ## Formatting, clippy, shellcheck, spelling, dependencies, and the rules of the house.
	@.ci/lint

.PHONY: generate
generate: build ## Write the contracts in proto/ and the tables of settings anew from the code.
	@.ci/generate $(BINARIES)

##@ Further from the code

.PHONY: e2e-local
e2e-local: ## The tests that only speak HTTP, and those in a real browser, against the running stack.
	@cargo build -p oauth-relay --examples
	@$(STACK) with cargo test -p e2e --test stack --test examples --no-fail-fast -- --ignored
	@npm --prefix deploy/e2e/browser ci --silent --no-audit --no-fund
	@$(STACK) with npm --prefix deploy/e2e/browser test --silent

.PHONY: chaos
chaos: build ## Promises under faults: stopped peers, killed replicas, rotating keys, cut databases.
	@$(DATABASES) with cargo test -p chaos --no-fail-fast -- --ignored --nocapture

.PHONY: bench
bench: tools ## The ratios that must hold, measured on a release build; writes deploy/bench/RESULTS.md.
	@cargo build --workspace --bins --release
	@$(DATABASES) with $(or $(CARGO_TARGET_DIR),target)/release/bench

##@ Images and a cluster (kind where Docker runs, else a node in namespaces: CLUSTER=kind|node|existing)

.PHONY: e2e
e2e: ## Everything on a cluster: up, images, helm install of every chart, the tests, down; with KEEP=1 it stays.
	@deploy/cluster/cluster e2e

.PHONY: cluster-up
cluster-up: ## A cluster on this machine.
	@deploy/cluster/cluster up

.PHONY: images
images: ## Every service as an image.
	@deploy/cluster/images

.PHONY: install
install: ## The images to the cluster, and every chart with helm.
	@deploy/cluster/install

.PHONY: cluster-down
cluster-down: ## The cluster is gone, and nothing of it left.
	@deploy/cluster/cluster down

.PHONY: check-charts
check-charts: ## The charts: lint, every shape, sameness, READMEs, and who may talk to whom.
	@deploy/cluster/check-charts

.PHONY: generate-charts
generate-charts: ## Write the READMEs of the charts anew from their values.
	@"$$(deploy/tools/build helm-docs)" --chart-search-root charts --log-level error

##@ Help

.PHONY: help
help: ## This list.
	@awk 'BEGIN {FS = ":.*##"; printf "Usage: make \033[36m<target>\033[0m\n"} \
		/^[a-zA-Z0-9_-]+:.*?##/ {printf "  \033[36m%-15s\033[0m %s\n", $$1, $$2} \
		/^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)}' $(MAKEFILE_LIST)
