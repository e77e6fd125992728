# The few commands there are. Each prints what it runs.

# One file is linked with musl, which asks no name service module of the machine that it runs on.
musl = $(shell uname -m)-unknown-linux-musl
static_binary = target/$(musl)/release/spinney
PREFIX ?= $(HOME)/.local

.PHONY: help demo test lint bench scale static install aarch64

help: ## list these commands
	@awk -F ': ## ' '/^[a-z0-9]+: ## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, make a small Python environment once, import numpy on four nodes from views of it
	cargo build --release --locked
	scripts/demo.sh target/release/spinney target/demo

test: ## install what the tests need (as root), then run all of them
	scripts/prepare-tests.sh
	cargo test --locked --no-fail-fast

lint: ## format and clippy, as CI demands them
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --features kafka -- -D warnings

bench: ## measure one node, many, and under Slurm, into docs/benchmarks; ROWS=warm MANY=cpu LAUNCH=up for some rows, `-` for none
	cargo build --release --locked --example stand_in
	[ "$(ROWS)" = - ] || cargo bench --locked --bench one_node -- $(ROWS)
	[ "$(MANY)" = - ] || cargo bench --locked --bench many_nodes -- $(MANY)
	[ "$(LAUNCH)" = - ] || cargo bench --locked --bench launch -- $(LAUNCH)

scale: ## simulate imports on 1 to 100,000 nodes, into docs/benchmarks; under a minute
	cargo bench --locked --bench scale

static: ## one file that needs no shared library; takes musl-gcc, in Debian's musl-tools
	command -v musl-gcc >/dev/null || apt-get install -y musl-tools
	rustup target list --installed | grep -qx $(musl) || rustup target add $(musl)
	cargo build --release --locked --target $(musl)
	! readelf -l $(static_binary) | grep -q INTERP
	$(static_binary) --version
	@ls -lh $(static_binary)

install: ## the same with manual page, completions and modulefile into PREFIX, else ~/.local
	$(MAKE) static
	scripts/install.sh $(static_binary) $(PREFIX)

aarch64: ## check that it compiles for aarch64; ring has assembly, so this needs a compiler for it
	command -v aarch64-linux-gnu-gcc >/dev/null || apt-get install -y gcc-aarch64-linux-gnu libc6-dev-arm64-cross
	rustup target list --installed | grep -qx aarch64-unknown-linux-gnu || rustup target add aarch64-unknown-linux-gnu
	cargo check --locked --target aarch64-unknown-linux-gnu
