#!/bin/sh
# Builds the Java and the Go sample and runs them against a running Penstock. By hand, not in CI:
#
#   PENSTOCK_URL=http://127.0.0.1:3000 PENSTOCK_KEY=sk-... docs/guides/samples/check.sh [model]
#
# Each sample must answer whole and streamed, and must report a wrong key with status and request id.
set -eu
: "${PENSTOCK_URL:?set it, for example to http://127.0.0.1:3000}"
: "${PENSTOCK_KEY:?set it to a key of this Penstock}"
model=${1:-penstock-echo}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

verdict() { # name, 0 or 1
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok      $1"
    else
        failed=$((failed + 1))
        echo "FAILED  $1"
        sed 's/^/        /' "$work/out"
    fi
}

try() { # name, command...
    name=$1
    shift
    "$@" >"$work/out" 2>&1 && grep -q '^whole: *[^ ]' "$work/out" && grep -q '^streamed: *[^ ]' "$work/out"
    verdict "$name answers" $?
    if PENSTOCK_KEY=sk-wrong "$@" >"$work/out" 2>&1; then
        verdict "$name reports a wrong key" 1
    else
        grep -q 'status 401, request id [0-9a-f-]*: ' "$work/out"
        verdict "$name reports a wrong key" $?
    fi
}

set +e
if command -v javac >/dev/null; then
    if javac -d "$work" "$here/PenstockSample.java" >"$work/out" 2>&1; then
        try Java java -cp "$work" PenstockSample "$model"
    else
        verdict "Java compiles" 1
    fi
else
    echo "skipped Java: no javac"
fi
if command -v go >/dev/null; then
    if go build -o "$work/sample" "$here/sample.go" >"$work/out" 2>&1; then
        try Go "$work/sample" "$model"
    else
        verdict "Go compiles" 1
    fi
else
    echo "skipped Go: no go"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
