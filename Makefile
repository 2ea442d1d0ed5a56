# Everything that a newcomer needs: `make demo` and `make test`.

TARGET := $(shell uname -m)-unknown-linux-musl
ARM_TARGET := aarch64-unknown-linux-musl
BINARY := target/$(TARGET)/release/hot-restarter

# The toolchain's own linker, so that another machine's binary needs no cross compiler.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER := rust-lld

.PHONY: help build arm pages envoy images demo test bench bench-stop soak miri asan audit fuzz lint clean

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

build: targets ## Build the static binary and what the tests need beside it.
	cargo build --locked --release --workspace --target $(TARGET)
	@ls -l $(BINARY)

arm: targets ## Build the static binary for aarch64.
	cargo build --locked --release --target $(ARM_TARGET)

# Dated like the commit, or by SOURCE_DATE_EPOCH, so that the same source makes the same pages.
pages: ## Write the manual page and the shells' completions to target/pages.
	@date=$$(date -u -d "@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}" +%F) && \
	cd pages && cargo run --locked --quiet -- ../target/pages "$$date"

# Adds the musl targets where rustup has not got them yet.
.PHONY: targets
targets:
	@for target in $(TARGET) $(ARM_TARGET); do \
		test -d "$$(rustc --print target-libdir --target $$target)" || rustup target add $$target; \
	done

envoy: ## Fetch the Envoy that demo and tests run over.
	python3 docker/fetch_envoy.py

images: build envoy ## Build the Docker images.
	python3 docker/images.py

demo: build ## Show three hot restarts of a real Envoy under load.
	python3 docker/demo --binary $(BINARY)

test: build arm envoy ## Run every test.
	cd fuzz && cargo test --locked --no-default-features
	cd pages && cargo test --locked
	cargo test --locked --target $(TARGET) --workspace

# ROWS="start memory" chooses measurements by parts of their names.
# A copy, since cargo links the binary anew for a benchmark, with what the tests need of its crates.
bench: build envoy ## Measure; prints a table.
	mkdir -p target/measured && cp $(BINARY) target/measured/
	RESTARTER_UNDER_TEST=$(CURDIR)/target/measured/hot-restarter \
		cargo bench --locked --target $(TARGET) --bench bench -- $(ROWS)

bench-stop: build envoy ## Stop an Envoy under load, in Docker; prints a table.
	cargo bench --locked --target $(TARGET) --bench stop

# The seed that it prints first plays the same again: SEED=… make soak.
soak: build ## Faults of every kind at random, for SOAK_SECONDS (600).
	SOAK_SECONDS=$(or $(SOAK_SECONDS),600) cargo test --locked --target $(TARGET) --test soak -- --nocapture

# The corpora run on any toolchain; finding new inputs needs a nightly one and cargo-fuzz. What is
# found goes to target/found, and what is worth keeping gets a name in fuzz/corpus.
fuzz: ## Fuzz every parser, FUZZ_SECONDS (60) each.
	cd fuzz && for target in $$(cargo +nightly fuzz list); do \
		mkdir -p ../target/found/$$target && \
		cargo +nightly fuzz run $$target ../target/found/$$target corpus/$$target -- \
			-max_total_time=$(or $(FUZZ_SECONDS),60) -rss_limit_mb=1024 -max_len=8192 || exit 1; \
	done

# What takes bytes from outside apart, and what `src/sys` does with pointers. What Miri cannot run:
# clone, waitid, signalfd, poll, sockets that connect, inotify, flock, files that are opened without
# waiting, gmtime_r. What would take it minutes: clap, and the core, which has no `unsafe`.
MIRI_TESTS := sys:: procfs:: program:: signal:: control::wire control::render \
	watch::mounts memory::tests envoy::tests envoy::drain
MIRI_SKIP := a_group_that_exists shared_memory

miri: ## Look for undefined behaviour with Miri, as far as it can run us (a nightly toolchain).
	export MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=$(CURDIR)/target/miri; \
	names=$$(cargo +nightly miri test --locked --lib -- --list) && \
	for part in $(MIRI_TESTS) $(MIRI_SKIP); do \
		case $$names in *$$part*) ;; *) echo "no test is named like $$part" >&2; exit 1;; esac; \
	done && \
	timeout 300 cargo +nightly miri test --locked --lib -- \
		$(MIRI_TESTS) $(addprefix --skip ,$(MIRI_SKIP)) && \
	cd fuzz && timeout 300 cargo +nightly miri test --locked --no-default-features every_corpus

# The other half: the system calls that Miri lacks.
asan: ## Run the unit tests under AddressSanitizer (a nightly toolchain).
	RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$(CURDIR)/target/asan \
	cargo +nightly test --locked --lib --target $(shell uname -m)-unknown-linux-gnu

# Advisories need RustSec's database: ADVISORY_DB is a clone of it, for cargo-audit.
audit: ## Hold the dependencies against deny.toml (cargo-deny); with ADVISORY_DB against RustSec's advisories.
	for manifest in Cargo.toml fuzz/Cargo.toml pages/Cargo.toml; do \
		cargo deny --locked --manifest-path $$manifest --config deny.toml \
			check bans licenses sources || exit 1; \
	done
	@if [ -n "$(ADVISORY_DB)" ]; then \
		for lock in Cargo.lock fuzz/Cargo.lock pages/Cargo.lock; do \
			cargo audit --no-fetch --db "$(ADVISORY_DB)" --file $$lock || exit 1; \
		done; \
	else echo 'advisories: not checked, since ADVISORY_DB names no clone of the RustSec database'; fi

lint: targets ## Formatting, clippy, scripts.
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets --target $(TARGET) -- -D warnings
	cd fuzz && cargo fmt -- --check
	cd fuzz && cargo clippy --locked --no-default-features --all-targets -- -D warnings
	cd pages && cargo fmt -- --check
	cd pages && cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		shellcheck docker/*.sh examples/monit/*.sh $(addprefix examples/runit/,run finish check log/run) \
			pages/src/*.bash tests/soak/*.sh .ci/run; \
	else echo 'shellcheck is not installed, so the scripts are not checked'; fi

clean: ## Remove everything that was made.
	-docker image prune --force --filter label=hot-restarter.inputs
	cargo clean
	cd pages && cargo clean
