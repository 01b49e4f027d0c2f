#!/bin/sh
# Installs what `make bench` measures beside Penstock, as far as it can, and says what it could not: nginx and
# HAProxy from Debian, as root; the peers of benches/peers.txt into target/bench, with pip and npm.
# The bench leaves out what is missing. BENCH_PEERS=0 installs no peers; nor does a quick run, unless BENCH_PEERS=1.
set -u
cd "$(dirname "$0")/.." || exit 1

debian() { # program package
    if command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; then return; fi
    if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
        echo "bench: $1 is missing; installing the Debian package $2 (which may start a server on port 80)"
        apt-get install -y -q --no-install-recommends "$2" >/dev/null 2>&1 ||
            { apt-get update -q && apt-get install -y -q --no-install-recommends "$2"; } >/dev/null ||
            echo "bench: $2 cannot be installed; $1 is left out" >&2
    else
        echo "bench: $1 is missing and left out; install it (Debian: apt-get install $2)" >&2
    fi
}

debian nginx nginx-light
debian haproxy haproxy
command -v taskset >/dev/null 2>&1 ||
    echo "bench: taskset (util-linux) is missing; nothing is pinned to a core, figures vary more" >&2

if [ "${BENCH_QUICK:-0}" = 0 ]; then peers=${BENCH_PEERS:-1}; else peers=${BENCH_PEERS:-0}; fi
if [ "$peers" = 0 ]; then exit 0; fi
mkdir -p target/bench
while read -r name version; do
    place="target/bench/$name-$version"
    if [ -e "$place/.complete" ]; then continue; fi
    echo "bench: installing $name $version into $place"
    rm -rf "$place"
    case "$name" in
    litellm)
        python3 -m venv "$place" >"$place.log" 2>&1 &&
            "$place/bin/pip" install --quiet "litellm[proxy]==$version" >>"$place.log" 2>&1
        ;;
    portkey)
        mkdir -p "$place" &&
            npm install --prefix "$place" --no-audit --no-fund --omit=dev "@portkey-ai/gateway@$version" \
                >"$place.log" 2>&1
        ;;
    *) false ;;
    esac
    if [ $? = 0 ]; then
        touch "$place/.complete"
    else
        echo "bench: $name $version cannot be installed and is left out; see $place.log" >&2
        tail -n 2 "$place.log" >&2
    fi
done <benches/peers.txt
exit 0
