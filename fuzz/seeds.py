#!/usr/bin/env python3
"""Writes what a target begins with: the tests' fixtures, each behind the bytes that choose dialects and cuts."""

import pathlib
import sys

target, corpus = sys.argv[1], pathlib.Path(sys.argv[2])
fixtures = pathlib.Path(__file__).parent.parent / "tests" / "fixtures"
CHOICES = {"request": 2, "answer": 4, "refusal": 4, "framers": 2, "scanner": 4, "journal": 1}

for path in sorted(fixtures.rglob("*")):
    if not path.is_file() or target == "journal":
        continue
    is_stream = path.suffix == ".sse"
    if is_stream != (target == "framers") and target != "answer":
        continue
    body = path.read_bytes().replace(b"STREAM", b"true")
    for face in range(4):
        for upstream in range(8):
            flags = 1 if is_stream else 0
            head = bytes([face + 4 * flags, upstream, 85, 170])[: CHOICES[target]]
            (corpus / f"{path.stem}-{path.suffix[1:]}-{face}{upstream}").write_bytes(head + body)
