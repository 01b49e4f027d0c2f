#!/usr/bin/env python3
"""Makes config/catalog.toml of a table of models: python3 config/make_catalog.py models.tsv > config/catalog.toml

The table is tab-separated; its first line names the columns: provider, model, kind, max_input, max_output,
features (joined by +), retires (a date). What is empty is unknown and is left out.
"""

import csv
import re
import sys

# The table's provider, and who makes the model. Hosts of other people's models are left out.
OWNERS = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "google", "xai": "xai", "deepseek": "deepseek",
    "mistral": "mistral", "moonshot": "moonshot", "zai": "zai", "dashscope": "alibaba", "minimax": "minimax",
    "cohere": "cohere", "cohere_chat": "cohere", "perplexity": "perplexity", "volcengine": "bytedance",
    "tencent": "tencent", "ai21": "ai21",
}
CAPABILITIES = [
    ("tools", "function_calling"), ("vision", "vision"), ("reasoning", "reasoning"), ("json", "response_schema"),
    ("audio", "audio_input"), ("pdf", "pdf_input"),
]
# Trials, fine-tunes and what is no chat at all though the table says so.
UNWANTED = re.compile(r"^ft:|/|experimental|-exp-|-beta|^lyria|-tts|realtime|robotics|^container$|^learnlm|-gv2$|@")
# Others' models under a maker's roof.
FOREIGN = re.compile(
    r"^(mistral|dashscope|tencent|volcengine):(deepseek|glm|kimi|minimax|zai)"
    r"|^perplexity:(llama|codellama|mistral|mixtral|pplx-\d|sonar-(small|medium))|^gemini:deep-research"
)
# Models that are retired by this day are left out.
TODAY = "2026-11-01"


def facts(row):
    """The inline table of a model; None where nothing is known."""
    into, out = (int(row[key] or 0) for key in ("max_input", "max_output"))
    # OpenAI's window is input and output together, where the table has the input alone.
    window = into + out if row["provider"] == "openai" and into in (272000, 922000) else into
    features = set(row["features"].split("+"))
    capabilities = [ours for ours, theirs in CAPABILITIES if theirs in features]
    if not window:
        return None
    parts = [f'owner = "{OWNERS[row["provider"]]}"', f"context_window = {window}"]
    # Where both are the same, the table had no figure for the output.
    if row["kind"] == "chat" and out and out != into:
        parts.append(f"max_output_tokens = {out}")
    if capabilities:
        parts.append("capabilities = [" + ", ".join(f'"{c}"' for c in capabilities) + "]")
    return "{ " + ", ".join(parts) + " }"


def main():
    models = {}
    with open(sys.argv[1], encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            name = row["model"]
            wanted = row["provider"] in OWNERS and row["kind"] in ("chat", "embedding")
            if not wanted or UNWANTED.search(name) or FOREIGN.search(f'{row["provider"]}:{name}'):
                continue
            if row["retires"] and row["retires"] < TODAY:
                continue
            known = facts(row)
            if known:
                models.setdefault(name, known)
    print("# What is publicly known of models; `/v1/models` shows it. Made by make_catalog.py, no prices here.")
    print("# context_window and max_output_tokens are tokens; what is not known is left out.\n")
    for name in sorted(models):
        print(f'"{name}" = {models[name]}')


main()
