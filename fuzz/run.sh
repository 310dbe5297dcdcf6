#!/usr/bin/env bash
# run.sh SECONDS [TARGET]: libFuzzer on one target of fuzz::TARGETS, or on each in turn, from the corpus in fuzz/corpus.
# What crashes is left in fuzz/artifacts: copied to fuzz/corpus/TARGET, it is replayed by every cargo test.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1 only=${2:-}
names=$(sed -n 's/^ *("\([a-z0-9_/]*\)", .*/\1/p' src/lib.rs)
for name in $names; do
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  echo "fuzz: $name, $seconds s"
  # What libFuzzer finds goes to the first folder, which git ignores; the second is the one that is kept.
  mkdir -p "libfuzzer/found/$name" "corpus/$name" artifacts
  (cd libfuzzer && FUZZ_TARGET=$name cargo +nightly fuzz run --fuzz-dir . any "found/$name" "../corpus/$name" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$PWD/../artifacts/${name//\//-}-")
  rmdir --ignore-fail-on-non-empty -p "corpus/$name" 2> /dev/null || true
done
