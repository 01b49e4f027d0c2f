# Everything a newcomer needs: run, test, lint, bench. What a target needs beyond Rust it installs as
# root on Debian, saying so, and names elsewhere.
.PHONY: run test lint loom drill optimised bench microbench simulate fuzz sdks

# Builds and serves on port 3000, with a fresh key and the built-in mock channel.
run: rust
	cargo run --release --bin penstock -- serve --fresh-key

# Runs every test, those of the store on throw-away PostgreSQL and MariaDB servers.
test: rust
	@if cargo nextest --version >/dev/null 2>&1; then \
		tests/servers.sh run cargo nextest run --workspace; \
	else \
		echo "test: cargo-nextest is not installed; using cargo test"; \
		tests/servers.sh run cargo test --workspace --quiet; \
	fi
	cargo test --workspace --doc --quiet
	$(MAKE) loom

# Explores every interleaving of the lock-free protocols on small sizes.
loom: rust
	cargo test --package penstock-actors --features loom --lib --quiet -- loom_tests

# Kills, power cuts and stopped databases under load, on SQLite, PostgreSQL and MariaDB, and whether the books
# balance afterwards: half an hour. DRILLS names some of them; docs/drills.md tells what each does.
drill: rust
	cargo build --release --bin penstock
	tests/drills.sh target/release/penstock $(DRILLS)

# Drives the queue's decisions with millions of calls on virtual time, and prints how fair and how right they are.
simulate: rust
	cargo test --release --package penstock-actors --test simulator -- --nocapture --test-threads 1

# Feeds every framer and parser what a coverage-guided fuzzer makes up, FUZZ_SECONDS a target; needs a nightly
# compiler and cargo-fuzz. What it finds, and what it found so far, is told in fuzz/README.md.
fuzz: rust
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "fuzz: needs a nightly compiler and cargo-fuzz: \
	rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 1; }
	fuzz/run.sh $(or $(FUZZ_SECONDS),60)

# Official SDKs, pinned in tests/sdk, as clients of every dialect over providers of every dialect; prints docs/sdks.md.
sdks: rust
	@cargo build --release --bin penstock >&2
	@tests/sdk/run.sh target/release/penstock

lint: rust
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

.PHONY: rust
# A Rust toolchain and the C compiler that ring, mimalloc and SQLite are built with.
rust:
	@command -v cargo >/dev/null 2>&1 || { \
		echo "Rust 1.89 or newer is missing; see https://rustup.rs" >&2; exit 1; }
	@if ! command -v cc >/dev/null 2>&1; then \
		if [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			echo "a C compiler is missing; installing the Debian packages gcc and libc6-dev"; \
			apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev; \
		else \
			echo "a C compiler is missing; install gcc or clang (Debian: apt-get install gcc libc6-dev)" >&2; \
			exit 1; \
		fi; \
	fi

# target/optimised/penstock, a release build laid out by a profile of itself at work: what the image ships.
optimised: rust
	packaging/optimise.sh

# What a call costs in Penstock beside nginx, HAProxy and other gateways, in one run. Settings: benches/README.md.
bench: rust
	@benches/prepare.sh
	cargo build --release --bin penstock --package penstock --bin penstock-bench --package penstock-bench
	@if [ -z "$$BENCH_PENSTOCK" ] && [ "$${BENCH_QUICK:-0}" = 0 ]; then \
		packaging/optimise.sh && BENCH_PENSTOCK=$(CURDIR)/target/optimised/penstock target/release/penstock-bench; \
	else \
		target/release/penstock-bench; \
	fi

# What the parts of the call path cost by themselves.
microbench: rust
	cargo bench --bench micro
