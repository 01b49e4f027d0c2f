#!/bin/sh
# Runs every target, or those of FUZZ_TARGETS, for so many seconds, from the fixtures of the tests; stops at the first
# finding. No sanitizer looks for wrong memory: the code that is run here forbids `unsafe`.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
for target in ${FUZZ_TARGETS:-request answer refusal framers scanner journal}; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    fuzz/seeds.py "$target" "$corpus"
    cargo +nightly fuzz run --sanitizer none "$target" "$corpus" -- -max_total_time="$seconds" -max_len=16384 \
        -timeout=10 -print_final_stats=1 -verbosity=0
done
