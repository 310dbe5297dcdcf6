#!/usr/bin/env bash
# run.sh SECONDS [TARGET]: libFuzzer on one target, or on each in turn, from the corpus in fuzz/corpus. What crashes is
# left in fuzz/libfuzzer/artifacts: copy it to fuzz/corpus/TARGET and it is replayed by every cargo test.
set -euo pipefail
cd "$(dirname "$0")/libfuzzer"
seconds=$1 only=${2:-}
for target in ../targets/*.rs; do
  name=$(basename "$target" .rs)
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  echo "fuzz: $name, $seconds s"
  mkdir -p "corpus/$name" "../corpus/$name"
  # What libFuzzer finds goes to the first folder, which is not kept; the second is the one that is.
  cargo +nightly fuzz run --fuzz-dir . "$name" "corpus/$name" "../corpus/$name" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048
done
