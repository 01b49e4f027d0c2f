#!/bin/sh
# Calls a penstock program with the official SDKs, pinned and installed under target/sdk, and prints what works.
set -eu
program=$1
here=$(cd "$(dirname "$0")" && pwd)
place=$here/../../target/sdk
command -v node >/dev/null 2>&1 && command -v python3 >/dev/null 2>&1 || {
    echo "sdks: needs python3 with venv, and node with npm" >&2
    exit 1
}
mkdir -p "$place"
# LangChain wants older SDKs than the newest.
for which in requirements requirements-langchain; do
    [ -x "$place/$which/bin/python" ] || python3 -m venv "$place/$which"
    "$place/$which/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/$which.txt"
done
cp "$here/package.json" "$here/node.mjs" "$place/"
npm install --silent --no-audit --no-fund --prefix "$place"
"$place/requirements/bin/python" "$here/matrix.py" "$program" \
    "$place/requirements-langchain/bin/python $here/langchain_loop.py" "node $place/node.mjs"
