# The few commands there are. Each prints what it runs.

# The machine this is built on, such as x86_64-unknown-linux-gnu.
host = $(shell rustc -vV | sed -n 's/^host: //p')
static_binary = target/static/$(host)/release/spinney

.PHONY: help demo test lint bench scale static aarch64

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

bench: ## measure one node and many, into docs/benchmarks; takes a while; ROWS=warm MANY=cpu for some rows, `-` for none
	cargo build --release --locked --example stand_in
	[ "$(ROWS)" = - ] || cargo bench --locked --bench one_node -- $(ROWS)
	[ "$(MANY)" = - ] || cargo bench --locked --bench many_nodes -- $(MANY)

scale: ## simulate imports on 1 to 100,000 nodes, into docs/benchmarks; under a minute
	cargo bench --locked --bench scale

static: ## a release binary that needs no shared library
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target $(host) --target-dir target/static
	! readelf -l $(static_binary) | grep -q INTERP
	$(static_binary) --version
	@ls -lh $(static_binary)

aarch64: ## check that it compiles for aarch64; ring has assembly, so this needs a compiler for it
	command -v aarch64-linux-gnu-gcc >/dev/null || apt-get install -y gcc-aarch64-linux-gnu libc6-dev-arm64-cross
	rustup target list --installed | grep -qx aarch64-unknown-linux-gnu || rustup target add aarch64-unknown-linux-gnu
	cargo check --locked --target aarch64-unknown-linux-gnu
