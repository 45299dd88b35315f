# Every way to build, try and check Dockerforge. Continuous integration calls these targets and nothing else.
# `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# rustup installs here, and a shell that is not a login shell may not have it on its PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

# The versions of Cargo.lock and no others. `make CARGO_FLAGS= …` while dependencies are being changed.
CARGO_FLAGS ?= --locked
# Fault points exist in the binaries under test, and only there.
TEST_FEATURES := --features dockerforge-coordinator/testing,dockerforge-agent/testing
# Empty where cargo-nextest is not installed; then cargo's own runner is used.
NEXTEST := $(shell PATH="$(PATH)" command -v cargo-nextest)
TESTBED := tests/testbed/testbed
SCRIPTS := .ci/run $(wildcard packaging/*.sh packaging/*/*.sh packaging/templates/*/files/*.sh coordinator/src/build/provision/*.sh coordinator/src/build/provision/*/*.sh) $(filter-out %.md,$(wildcard tests/testbed/*))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## both binaries, for development: target/debug/dockerforge and target/debug/dockerforge-agent
	cargo build $(CARGO_FLAGS) -p dockerforge-coordinator -p dockerforge-agent --bins

.PHONY: dist
dist: ## both binaries as they are shipped: target/dist/ (takes many minutes)
	cargo build $(CARGO_FLAGS) --profile dist -p dockerforge-coordinator -p dockerforge-agent --bins

.PHONY: demo
demo: ## a host enrols, databases are launched on it, a blog linked to them answers - for real, here (as root)
	@packaging/setup/setup.sh demo
	@packaging/demo/demo.sh

.PHONY: demo-down
demo-down: ## removes every trace of the demo
	@packaging/demo/demo-down.sh

.PHONY: test
test: setup lint ## set-up, lints and every test, with all that they need brought up and taken down again (as root)
	@$(TESTBED) run $(MAKE) --no-print-directory test-in-bed

# The binaries first: the end-to-end tests start them as a person would.
.PHONY: test-in-bed
test-in-bed:
	cargo build $(CARGO_FLAGS) --workspace --bins --tests $(TEST_FEATURES)
ifneq ($(NEXTEST),)
	cargo test $(CARGO_FLAGS) --workspace --doc $(TEST_FEATURES)
	cargo nextest run $(CARGO_FLAGS) --workspace $(TEST_FEATURES) --no-fail-fast
else
	cargo test $(CARGO_FLAGS) --workspace $(TEST_FEATURES) --no-fail-fast
endif

.PHONY: test-unit
test-unit: ## the tests that need nothing but a compiler
	cargo test $(CARGO_FLAGS) --workspace --lib

.PHONY: test-only
test-only: setup ## the tests whose name contains T=…, in the test bed
	@$(TESTBED) run $(MAKE) --no-print-directory test-only-in-bed

.PHONY: test-only-in-bed
test-only-in-bed:
	cargo build $(CARGO_FLAGS) --workspace --bins $(TEST_FEATURES)
ifneq ($(NEXTEST),)
	cargo nextest run $(CARGO_FLAGS) --workspace $(TEST_FEATURES) --no-fail-fast $(T)
else
	cargo test $(CARGO_FLAGS) --workspace $(TEST_FEATURES) --no-fail-fast -- $(T)
endif

.PHONY: faults-long
faults-long: setup ## kill -9 at every named step on both databases: the whole matrix, for the night
	@DOCKERFORGE_FAULTS=full $(TESTBED) run $(MAKE) --no-print-directory faults-in-bed

.PHONY: faults-in-bed
faults-in-bed:
	cargo build $(CARGO_FLAGS) --workspace --bins $(TEST_FEATURES)
	cargo test $(CARGO_FLAGS) -p dockerforge-tests $(TEST_FEATURES) --test faults --no-fail-fast -- --nocapture --test-threads 2

.PHONY: story
story: setup ## the templates that ship: a blog, linked to databases that were told of it while they ran (10 minutes)
	@$(TESTBED) run $(MAKE) --no-print-directory story-in-bed

.PHONY: story-in-bed
story-in-bed:
	@tests/testbed/debian-image up
	cargo build $(CARGO_FLAGS) --workspace --bins $(TEST_FEATURES)
	cargo test $(CARGO_FLAGS) -p dockerforge-tests $(TEST_FEATURES) --test story -- --ignored --nocapture --skip chef::

.PHONY: chef-story
chef-story: ## Chef, and the same story by it, on an image that you bring: DOCKERFORGE_TEST_CHEF_IMAGE=NAME:TAG (10 minutes)
	@if [ -z "$${DOCKERFORGE_TEST_CHEF_IMAGE:-}" ]; then \
	  echo "chef-story needs an image that has chef-solo, and Debian has no package of it: name one that is on" \
	    "this machine's Docker, with Debian 12 and chef-solo on its PATH: DOCKERFORGE_TEST_CHEF_IMAGE=NAME:TAG make chef-story" >&2; exit 2; fi
	@packaging/setup/setup.sh test
	@$(TESTBED) run $(MAKE) --no-print-directory chef-story-in-bed

.PHONY: chef-story-in-bed
chef-story-in-bed:
	cargo build $(CARGO_FLAGS) --workspace --bins $(TEST_FEATURES)
	cargo test $(CARGO_FLAGS) -p dockerforge-tests $(TEST_FEATURES) --test story -- --ignored --nocapture chef::

.PHONY: contract-long
contract-long: setup ## the API against its document, many times over and other things each time
	@DOCKERFORGE_CONTRACT=full $(TESTBED) run $(MAKE) --no-print-directory contract-in-bed

.PHONY: contract-in-bed
contract-in-bed:
	cargo build $(CARGO_FLAGS) --workspace --bins $(TEST_FEATURES)
	cargo test $(CARGO_FLAGS) -p dockerforge-tests $(TEST_FEATURES) --test e2e -- --nocapture contract::

.PHONY: bench
bench: setup ## how fast we are, beside what limits us, in one run
	@DOCKERFORGE_BIN_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release $(TESTBED) run $(MAKE) --no-print-directory bench-in-bed

.PHONY: bench-in-bed
bench-in-bed:
	cargo build $(CARGO_FLAGS) --release --workspace --bins $(TEST_FEATURES)
	cargo run $(CARGO_FLAGS) --release -p dockerforge-tests --bin bench

.PHONY: lint
lint: ## formatting, clippy with warnings as errors, and the scripts where shellcheck is installed
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets $(TEST_FEATURES) -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SCRIPTS); else echo "shellcheck is not installed: scripts not checked"; fi

.PHONY: fmt
fmt: ## formats the sources
	cargo fmt --all

.PHONY: deny
deny: ## licences, advisories and a second TLS stack (cargo-deny, where it is installed)
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: cargo install --locked cargo-deny"; fi

.PHONY: docs
docs: ## the API documentation of the crates: target/doc/
	cargo doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items

.PHONY: setup
setup: ## installs and starts what the tests need (as root; can be repeated)
	@packaging/setup/setup.sh test

.PHONY: clean-testbed
clean-testbed: ## takes down a test bed that an aborted run left up
	@$(TESTBED) down
