# make demo     the bike store, live: PostgreSQL of its own, embedded broker and registry (ARGS=…)
# make test     everything, against real PostgreSQL and Apache Kafka; what .ci/run runs
# make differential   random tables and changes through us and the real Debezium (SEEDS=1..100)
# make takeover   from Debezium to us and back
# make bench    what it carries, beside pg_recvlogical (AGAINST=pg_recvlogical,debezium SUITE=figure ROWS=5000000 PAIRS=3)
# make bench-instructions  what a row costs in each room, counted, against docs/measurements (RECORD=1 writes it)
# make torture  faults of every peer and 200 kills, held against a history (KILLS=200 SEED=1)
# make simulate  the whole pipe in virtual time, everything breaking by seed (SEEDS=10000, or ONLY=4711)
# make fuzz     cargo-fuzz, a minute a target (TARGET=one SECONDS=60)
# make static   dist/penstock, which needs nothing of the system it runs on
# make lint     formatting, clippy, and what tests/tidy.rs checks
#
# Each installs what it lacks and says so: tests/peers/install.sh.

CARGO ?= cargo
INSTALL = tests/peers/install.sh
MUSL = x86_64-unknown-linux-musl
ROWS ?= 5000000
AGAINST ?= pg_recvlogical
SUITE ?= figure
CACHE = $(or $(PENSTOCK_CACHE),.cache)
PAIRS ?= 3
SECONDS ?= 60
KILLS ?= 200
SEED ?= 1
SEEDS ?= 10000
TARGET ?=
RECORD ?=
PARALLEL ?= 4

MAJORS = 12 13 14 15 16 17 18
KAFKAS = 4.3.1 3.9.1 2.5.1

.PHONY: demo test differential takeover bench bench-instructions torture simulate fuzz static lint

demo:
	@$(INSTALL) rust postgres
	$(CARGO) build --release -p engine
	@deploy/demo.sh target/release/penstock $(ARGS)

# The crates' own tests take seconds. Slow, some minutes: tests/servers.rs and tests/golden.rs,
# on PostgreSQL 12 to 18 and three Apache Kafkas. Tests wait for servers more than they compute, so
# more of them run at once than there are cores.
test: export RUST_TEST_THREADS ?= 4
test:
	@$(INSTALL) rust postgres kcat valgrind faketime judges debezium $(MAJORS:%=postgres-%) postgres-vector $(KAFKAS:%=kafka-%)
	$(CARGO) test --workspace --no-run
	PENSTOCK_BIN=$(CURDIR)/target/debug/penstock $(CARGO) test --workspace --no-fail-fast
	@$(MAKE) --no-print-directory bench-instructions

differential: SEEDS = 1..100
differential:
	@$(INSTALL) rust postgres judges postgres-15 kafka-4.3.1 debezium
	$(CARGO) build --bin penstock
	PENSTOCK_BIN=$(CURDIR)/target/debug/penstock SEEDS=$(SEEDS) PARALLEL=$(PARALLEL) $(CARGO) test -q -p tests --test differential -- --nocapture

takeover:
	@$(INSTALL) rust postgres judges kafka-4.3.1 debezium
	$(CARGO) build --bin penstock
	PENSTOCK_BIN=$(CURDIR)/target/debug/penstock $(CARGO) test -q -p tests --test takeover

bench:
	@$(INSTALL) rust postgres kafka-4.3.1 $(if $(findstring debezium,$(AGAINST)),debezium)
	$(CARGO) build --release -p engine
	target/release/penstock bench --kafka-home $(CACHE)/kafka-4.3.1 --debezium $(CACHE)/debezium \
	  --against $(AGAINST) --suite $(SUITE) --rows $(ROWS) --pairs $(PAIRS) --out docs/measurements \
	  --report bench.html $(ARGS)

bench-instructions:
	@$(INSTALL) rust valgrind
	CARGO_INCREMENTAL=0 $(CARGO) build --config tests/counted.toml -p tests --bin instructions
	target/debug/instructions $(if $(RECORD),record,compare)

torture:
	@$(INSTALL) rust postgres judges kafka-4.3.1
	TORTURE_KILLS=$(KILLS) TORTURE_SEED=$(SEED) \
		$(CARGO) test -p tests --test torture -- --ignored --nocapture long

simulate:
	@$(INSTALL) rust
	SEEDS=$(SEEDS) $(if $(ONLY),ONLY=$(ONLY)) $(CARGO) test -q --profile simulate -p tests --test pipe -- \
		--include-ignored --nocapture $(if $(ONLY),many_seeds)

fuzz:
	@$(INSTALL) rust nightly
	@fuzz/run.sh $(SECONDS) $(TARGET)

static:
	@$(INSTALL) rust musl
	$(CARGO) build --release -p engine --target $(MUSL)
	@deploy/static.sh target/$(MUSL)/release/penstock dist/penstock

lint:
	@$(INSTALL) rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test -q -p tests --test tidy
