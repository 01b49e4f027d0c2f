#!/usr/bin/env bash
# Builds target/optimised/penstock: the release build once more, laid out by what it was seen doing. A call costs about
# a sixth less. First a build that counts is loaded in front of the mock with calls, streams and conversions; then the
# compiler places and inlines code by these counts (profile-guided optimisation: https://doc.rust-lang.org/rustc/profile-guided-optimization.html).
#
#   packaging/optimise.sh
#
# It takes two release builds and a minute. TRAIN_SECONDS (20) says how long calls are counted.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")/.."
seconds=${TRAIN_SECONDS:-20}
place=$PWD/target/optimised
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
    echo "optimise: llvm-profdata is missing; installing the component llvm-tools" >&2
    rustup component add llvm-tools >&2 || {
        echo "optimise: llvm-profdata of this compiler's LLVM is needed: rustup component add llvm-tools" >&2
        exit 1
    }
fi
command -v curl >/dev/null 2>&1 || {
    echo "optimise: curl is needed" >&2
    exit 1
}

build() { # name of its folder, flags
    RUSTFLAGS=$2 cargo build --release --locked --bin penstock --target "$host" --target-dir "$place/$1"
    built=$place/$1/$host/release/penstock
}

work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-optimise.XXXXXX")
pids=()
ended() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap ended EXIT
trap 'exit 130' INT TERM

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

until_ready() { # url, path of its log
    for _ in $(seq 200); do
        curl --silent --output /dev/null "$1" && return
        sleep 0.1
    done
    echo "optimise: no answer from $1" >&2
    cat "$2" >&2
    exit 1
}

key=sk-optimise-0123456789abcdef
channel() { # name, what it needs beside it, its credential
    cat <<TOML
[[channel]]
name = "$1"
provider = "$1"
base_url = "$mock"
credential = "${3:-sk-mock}"
models = ["$1"]
headers = { x-penstock-mock-tokens = "40", x-penstock-mock-latency-ms = "0", x-penstock-mock-ttft-ms = "0", x-penstock-mock-pace-ms = "0" }
${2:-}

TOML
}

# Dialects that a conversion is counted for; what is not in use here is laid out as rarely used.
providers="openai anthropic gemini openai-responses bedrock cohere ollama-native dashscope-native hunyuan dify cohere-v1 wenxin"
configuration() {
    cat <<TOML
[server]
listen = "127.0.0.1:${url##*:}"
workers = 1
data_dir = "$work/data"

[[key]]
name = "optimise"
secret = "$key"

[[channel]]
name = "mock"
provider = "mock"
base_url = "$mock"
credential = "sk-mock"
models = ["penstock-echo"]

TOML
    for provider in $providers; do
        case $provider in
        bedrock) channel "$provider" 'params = { region = "us-east-1" }' "AKIDEXAMPLE|penstock-mock-secret" ;;
        hunyuan) channel "$provider" "" "AKIDEXAMPLE|penstock-mock-secret" ;;
        wenxin) channel "$provider" "" "mock-api-key|penstock-mock-secret" ;;
        *) channel "$provider" ;;
        esac
    done
}

ask() { # path, body: a hundred times on one connection
    local mark='?'
    case $1 in *\?*) mark='&' ;; esac
    curl --silent --show-error --fail --output /dev/null --header "authorization: Bearer $key" \
        --header 'content-type: application/json' --data "$2" "$url$1${mark}n=[1-100]"
}

work_it() {
    "$built" bench --url "$url/v1" --key "$key" --closed --duration "${seconds}s" --size 200:12,4096:4,150000:1 \
        --streams 20 --mock-tokens 40 >"$work/bench.log" 2>&1 || {
        cat "$work/bench.log" >&2
        exit 1
    }
    local text="The quick brown fox said \\\"hello\\\" to the lazy dog." messages streams
    messages='[{"role":"user","content":"'$text'"}]'
    for provider in $providers; do
        for streams in true false; do
            ask /v1/chat/completions '{"model":"'"$provider"'","stream":'$streams',"messages":'"$messages"'}'
            ask /v1/messages '{"model":"'"$provider"'","stream":'$streams',"max_tokens":500,"messages":'"$messages"'}'
            ask /v1/responses '{"model":"'"$provider"'","stream":'$streams',"store":false,"input":'"$messages"'}'
        done
        for method in generateContent 'streamGenerateContent?alt=sse'; do
            ask "/v1beta/models/$provider:$method" '{"contents":[{"role":"user","parts":[{"text":"'"$text"'"}]}]}'
        done
    done
}

stop() {
    # They write what they counted as they end.
    kill -TERM "${pids[@]}"
    wait "${pids[@]}" || true
    pids=()
}

rm -rf "$place/raw"
build counting "-Cprofile-generate=$place/raw"
mock=http://127.0.0.1:$(free_port)
url=http://127.0.0.1:$(free_port)
"$built" mock --listen "${mock#http://}" --workers 1 >"$work/mock.log" 2>&1 &
pids+=($!)
configuration >"$work/penstock.toml"
"$built" serve --config "$work/penstock.toml" >"$work/penstock.log" 2>&1 &
pids+=($!)
until_ready "$mock" "$work/mock.log"
until_ready "$url/health" "$work/penstock.log"
work_it
stop
"$profdata" merge --output "$place/profile.profdata" "$place"/raw/*.profraw
# Another profile under the same name would be no reason for cargo to build anew.
rm -rf "$place/laid-out"
build laid-out "-Cprofile-use=$place/profile.profdata"
cp "$built" "$place/penstock"
echo "optimise: built target/optimised/penstock" >&2
