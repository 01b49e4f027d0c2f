#!/usr/bin/env python3
"""Official SDKs of every client dialect, over a provider of every dialect: prints the matrix as Markdown.

Usage: matrix.py PENSTOCK [COMMAND...], the program, and commands that check more: each is given the gateway's
address, a key and the models, prints a table and fails where anything does. The program serves before its own
mock, which is as strict as the providers are. What a provider's dialect cannot carry may be refused with a reason,
which is told; anything else fails.
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from clients import CLIENTS
from tables import table

KEY = "sk-sdk-0123456789abcdef"
REGION = 'params = { region = "us-east-1" }\n'
PROJECT = 'params = { project = "penstock-mock", region = "eu" }\n'
# Provider, and what its channel needs beyond the usual.
PROVIDERS = {
    "openai": "",
    "anthropic": "",
    "gemini": "",
    "openai-responses": "",
    "bedrock": REGION,
    "bedrock-claude": REGION,
    "vertex": PROJECT,
    "vertex-claude": PROJECT,
    "cohere": "",
    "ollama-native": "",
    "dashscope-native": "",
    "hunyuan": "",
    "cohere-v1": "",
    "wenxin": "",
    "zhipu-v3": "",
    "palm": "",
    "cloudflare-run": 'params = { account = "mock" }\n',
    "aiproxy-library": 'params = { library_id = "lib-1" }\n',
    "dify": "",
    "coze": "",
    "deepl-free": "",
}
# They have no tools, which loops of tools cannot do without.
WITHOUT_TOOLS = ["zhipu-v3", "palm", "aiproxy-library", "dify", "coze", "deepl-free"]
# They tell no usage; what their calls took is counted by the gateway, for its books alone.
UNCOUNTED = ["palm", "aiproxy-library", "deepl-free"]
# What is between the mock's address and the row's paths.
PATHS = {"cloudflare-run": "/client/v4/accounts/mock/ai"}
# The provider's name for the model, where the mock wants to see one of its own.
MODELS = {
    "cloudflare-run": "@cf/meta/llama-4-scout-17b-16e-instruct",
    "coze": "bot-7381",
    "deepl-free": "deepl-zh",
}
SIGNED = ["bedrock", "bedrock-claude", "hunyuan", "wenxin"]
ACCOUNT = pathlib.Path(__file__).parent / "../../src/mock/foreign/service-account.json"


def credential(provider, mock):
    """One that the mock takes."""
    if provider in SIGNED:
        return "AKIDEXAMPLE|penstock-mock-secret"
    if provider == "zhipu-v3":
        return "id.penstock-mock-secret"
    if provider.startswith("vertex"):
        return json.dumps({**json.loads(ACCOUNT.read_text()), "token_uri": f"{mock}/token"})
    return "x"


HEAD = """# Official SDKs over every dialect

Made by `make sdks > docs/sdks.md`: each cell is a check with the maker's own SDK, pinned in `tests/sdk`, through the
program, to a mock that is as strict as the provider. Columns are the dialects that providers speak."""


def channels(mock):
    for provider, more in PROVIDERS.items():
        # Without pacing, which would wait for a provider that refuses for a while.
        throttled = 'pacing = false\nheaders = { "x-penstock-mock-status" = "429" }\n'
        for model, header in [(provider, ""), (f"{provider}-throttled", throttled)]:
            yield (
                f'[[channel]]\nname = "{model}"\nprovider = "{provider}"\nbase_url = "{mock}{PATHS.get(provider, "")}"\n'
                f'credential = {json.dumps(credential(provider, mock))}\nmodels = ["{model}"]\n'
                f'mapping = {{ "{model}" = "{MODELS.get(provider, model)}" }}\n{header}{more}\n'
            )


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until_ready(url):
    for _ in range(200):
        try:
            return urllib.request.urlopen(f"{url}/health", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    ports = [free_port(), free_port()]
    mock, url = [f"http://127.0.0.1:{port}" for port in ports]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        settings = pathlib.Path(folder) / "penstock.toml"
        settings.write_text(
            f'[server]\nlisten = "127.0.0.1:{ports[1]}"\ndata_dir = "{folder}/data"\n'
            f'[[key]]\nname = "k"\nsecret = "{KEY}"\n' + "".join(channels(mock))
        )
        log = open(pathlib.Path(folder) / "log", "w")
        running = [
            subprocess.Popen([program, *arguments], stdout=log, stderr=log)
            for arguments in [["mock", "--listen", f"127.0.0.1:{ports[0]}"], ["serve", "--config", settings]]
        ]
        try:
            until_ready(mock)
            until_ready(url)
            print(HEAD)
            for name, client in CLIENTS.items():
                failed += table(name, client(url, KEY), list(PROVIDERS), UNCOUNTED)
            sys.stdout.flush()
            with_tools = [provider for provider in PROVIDERS if provider not in WITHOUT_TOOLS]
            for more in sys.argv[2:]:
                failed += subprocess.run([*more.split(), url, KEY, *with_tools], check=False).returncode
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(20)
            if failed:
                print((pathlib.Path(folder) / "log").read_text()[-4000:], file=sys.stderr)
    raise SystemExit(1 if failed else 0)


main()
