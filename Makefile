# Everything that a newcomer needs: `make demo` and `make test`.

TARGET := $(shell uname -m)-unknown-linux-musl
ARM_TARGET := aarch64-unknown-linux-musl
BINARY := target/$(TARGET)/release/hot-restarter

# The toolchain's own linker, so that another machine's binary needs no cross compiler.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER := rust-lld

.PHONY: help build arm pages envoy images demo test bench bench-stop fuzz lint clean

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

bench: build ## Measure; prints a table.
	cargo bench --locked --target $(TARGET) --bench bench

bench-stop: build envoy ## Stop an Envoy under load, in Docker; prints a table.
	cargo bench --locked --target $(TARGET) --bench stop

# The corpora run on any toolchain; finding new inputs needs a nightly one and cargo-fuzz.
fuzz: ## Fuzz every parser, FUZZ_SECONDS (60) each.
	cd fuzz && for target in $$(cargo +nightly fuzz list); do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(or $(FUZZ_SECONDS),60) || exit 1; \
	done

lint: targets ## Formatting, clippy, scripts.
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets --target $(TARGET) -- -D warnings
	cd fuzz && cargo fmt -- --check
	cd fuzz && cargo clippy --locked --no-default-features --all-targets -- -D warnings
	cd pages && cargo fmt -- --check
	cd pages && cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		shellcheck docker/*.sh examples/monit/*.sh $(addprefix examples/runit/,run finish check log/run) \
			pages/src/*.bash .ci/run; \
	else echo 'shellcheck is not installed, so the scripts are not checked'; fi

clean: ## Remove everything that was made.
	-docker image prune --force --filter label=hot-restarter.inputs
	cargo clean
	cd pages && cargo clean
