#!/bin/sh
# Runs every target for so many seconds, from the fixtures of the tests; stops at the first finding.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
for target in request answer refusal framers scanner journal; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    fuzz/seeds.py "$target" "$corpus"
    cargo +nightly fuzz run --release "$target" "$corpus" -- -max_total_time="$seconds" -max_len=16384 \
        -timeout=10 -print_final_stats=1 -verbosity=0
done
