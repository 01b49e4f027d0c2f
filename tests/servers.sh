#!/usr/bin/env bash
# Throw-away database servers for the tests: data in a temporary folder, free ports, ended by process id.
#
#   tests/servers.sh run COMMAND...            starts both, runs the command with their addresses, ends them
#   tests/servers.sh start postgres|mysql DIR  starts one on the data in DIR (made where it is missing) and
#                                              writes DIR/pid, DIR/port and DIR/url
#   tests/servers.sh stop DIR                  ends the one of DIR at once, as a power cut of the process would
set -euo pipefail

here=$(realpath "$0")
password=for-tests-only

# Servers refuse to run as root; nobody is everywhere.
plain() {
    (become "$@")
}

# Replaces the shell, so that its process id is the server's.
become() {
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$@"
    else
        exec "$@"
    fi
}

postgres_bin() {
    local found
    found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    [ -n "$found" ] || found=$(dirname "$(command -v initdb 2>/dev/null || true)" 2>/dev/null)
    [ -x "$found/initdb" ] && echo "$found"
}

mysql_bin() {
    command -v mariadbd 2>/dev/null || ls /usr/sbin/mariadbd 2>/dev/null
}

need() {
    local missing=()
    postgres_bin >/dev/null || missing+=(postgresql)
    mysql_bin >/dev/null || missing+=(mariadb-server)
    [ ${#missing[@]} = 0 ] && return
    if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
        echo "test: installing the Debian packages ${missing[*]} (which may start servers on their usual ports)" >&2
        apt-get update -q >&2
        apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
    else
        echo "test: ${missing[*]} is missing; install PostgreSQL and MariaDB" \
            "(Debian: apt-get install postgresql mariadb-server) and try again" >&2
        exit 1
    fi
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# Waits until a server takes connections; a taken port ends it, and another is tried.
await() {
    local dir=$1 port=$2 pid=$3
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || return 1
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && ready "$dir" "$port"; then return 0; fi
        sleep 0.1
    done
    return 1
}

ready() {
    local dir=$1 port=$2
    if [ -f "$dir/data/PG_VERSION" ]; then
        "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$port"
    else
        mariadb --no-defaults -h 127.0.0.1 -P "$port" -u penstock "-p$password" -e 'SELECT 1' >/dev/null 2>&1
    fi
}

launch() {
    local kind=$1 dir=$2 port=$3
    case $kind in
    postgres)
        become "$(postgres_bin)/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 \
            -c fsync=off -c full_page_writes=off -c max_connections=500 \
            -c logging_collector=off >>"$dir/log" 2>&1 &
        ;;
    mysql)
        become "$(mysql_bin)" --no-defaults --skip-name-resolve --datadir="$dir/data" --port="$port" \
            --bind-address=127.0.0.1 --socket="$dir/socket" --pid-file="$dir/server.pid" --skip-log-bin --max-connections=500 \
            --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=64M --init-file="$dir/init.sql" \
            >>"$dir/log" 2>&1 &
        ;;
    esac
    echo $! >"$dir/launcher"
}

start() {
    local kind=$1 dir=$2 port pid try
    mkdir -p "$dir"
    dir=$(realpath "$dir")
    touch "$dir/log"
    chmod 755 "$dir"
    [ "$(id -u)" != 0 ] || chown nobody:nogroup "$dir" "$dir/log"
    if [ ! -d "$dir/data" ]; then
        case $kind in
        postgres)
            echo "$password" >"$dir/password"
            chmod 644 "$dir/password"
            plain "$(postgres_bin)/initdb" -D "$dir/data" -U penstock --auth=scram-sha-256 --no-sync \
                --pwfile="$dir/password" -E UTF8 --locale=C >>"$dir/log" 2>&1
            ;;
        mysql)
            printf '%s\n' "CREATE USER IF NOT EXISTS penstock@'%' IDENTIFIED BY '$password';" \
                "GRANT ALL ON *.* TO penstock@'%';" >"$dir/init.sql"
            chmod 644 "$dir/init.sql"
            plain mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db \
                --auth-root-authentication-method=normal >>"$dir/log" 2>&1
            ;;
        *) echo "postgres or mysql" >&2; exit 2 ;;
        esac
    fi
    for try in 1 2 3 4 5; do
        port=$(cat "$dir/port" 2>/dev/null || free_port)
        launch "$kind" "$dir" "$port"
        pid=$(cat "$dir/launcher")
        if await "$dir" "$port" "$pid"; then
            echo "$pid" >"$dir/pid"
            echo "$port" >"$dir/port"
            case $kind in
            postgres) echo "postgres://penstock:$password@127.0.0.1:$port/postgres" >"$dir/url" ;;
            mysql) echo "mysql://penstock:$password@127.0.0.1:$port/mysql" >"$dir/url" ;;
            esac
            return
        fi
        # It runs and yet takes nobody: another port would not help.
        kill -9 "$pid" 2>/dev/null && break
        [ -f "$dir/port" ] && sleep 0.2
    done
    echo "test: $kind did not start; its log:" >&2
    tail -20 "$dir/log" >&2
    exit 1
}

stop() {
    local dir=$1 pid child
    pid=$(cat "$dir/pid" 2>/dev/null) || return 0
    # PostgreSQL's children end by themselves once they find their parent gone.
    kill -9 "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    rm -f "$dir/pid"
}

case ${1:-} in
run)
    shift
    need
    folder=$(mktemp -d "${TMPDIR:-/tmp}/penstock-test.XXXXXX")
    chmod 755 "$folder"
    ended() {
        stop "$folder/postgres"
        stop "$folder/mysql"
        rm -rf "$folder"
    }
    trap ended EXIT
    trap 'exit 130' INT TERM
    # In subshells, beside each other: making the data takes seconds.
    "$here" start postgres "$folder/postgres" &
    first=$!
    "$here" start mysql "$folder/mysql" &
    wait "$first"
    wait $!
    PENSTOCK_TEST_POSTGRES=$(cat "$folder/postgres/url")
    PENSTOCK_TEST_MYSQL=$(cat "$folder/mysql/url")
    export PENSTOCK_TEST_POSTGRES PENSTOCK_TEST_MYSQL
    "$@"
    ;;
start) shift; start "$@" ;;
stop) shift; stop "$@" ;;
*) sed -n '2,8p' "$here" >&2; exit 2 ;;
esac
