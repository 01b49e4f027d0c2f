#!/usr/bin/env bash
# The long drills: of the books on SQLite, PostgreSQL and MariaDB, with throw-away servers of their own; of channels.
#
#   tests/drills.sh PENSTOCK [crash] [power] [outage] [statements] [failover] [learning]
#
# DRILL_KILLS (200, a quarter of it on servers), DRILL_CUTS (20) and DRILL_SECONDS (300) say how long.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
penstock=$(realpath "$1")
shift
drills=${*:-crash power outage statements failover learning}
kills=${DRILL_KILLS:-200} cuts=${DRILL_CUTS:-20} seconds=${DRILL_SECONDS:-300}
folder=$(mktemp -d "${TMPDIR:-/tmp}/penstock-drills.XXXXXX")
chmod 755 "$folder"

ended() {
    "$here/servers.sh" stop "$folder/postgres"
    "$here/servers.sh" stop "$folder/mysql"
    rm -rf "$folder"
}
trap ended EXIT
trap 'exit 130' INT TERM
"$here/servers.sh" start postgres "$folder/postgres"
"$here/servers.sh" start mysql "$folder/mysql"

# Makes an empty database and prints its address.
database() {
    local url name=drill_$2
    url=$(cat "$folder/$1/url")
    case $1 in
    postgres) psql "$url" --quiet --command "CREATE DATABASE $name" ;;
    mysql)
        mariadb --no-defaults --host 127.0.0.1 --port "$(cat "$folder/mysql/port")" --user penstock \
            "--password=$(sed 's|.*penstock:\(.*\)@.*|\1|' "$folder/mysql/url")" \
            --execute "CREATE DATABASE $name"
        ;;
    esac
    echo "${url%/*}/$name"
}

failed=0
drill() {
    "$penstock" drill "$@" || failed=1
}

for kind in $drills; do
    case $kind in
    crash)
        drill crash --kills "$kills"
        for server in postgres mysql; do
            drill crash --kills $((kills / 4)) --url "$(database $server crash)"
        done
        ;;
    power)
        drill power --cuts "$cuts"
        drill power --cuts "$cuts" --mode power
        for server in postgres mysql; do
            drill power --cuts "$cuts" --url "$(database $server power)"
        done
        ;;
    outage)
        drill outage --seconds "$seconds"
        for server in postgres mysql; do
            dir=$folder/$server
            # Frozen: connections stay, nobody answers. The server's processes are its own and its children.
            pids="\$(cat $dir/pid) \$(pgrep -P \$(cat $dir/pid))"
            drill outage --seconds "$seconds" --url "$(database $server frozen)" \
                --stop "kill -STOP $pids" --start "kill -CONT $pids"
            drill outage --seconds "$seconds" --url "$(database $server stopped)" \
                --stop "$here/servers.sh stop $dir" --start "$here/servers.sh start $server $dir"
        done
        ;;
    statements)
        drill statements --clients 64
        for server in postgres mysql; do
            drill statements --clients 64 --url "$(database $server statements)"
        done
        ;;
    failover)
        drill failover
        ;;
    learning)
        for tells in headers retry-after nothing; do
            drill learning --tells $tells
        done
        ;;
    *)
        echo "drills: $kind is none of crash, power, outage, statements, failover, learning" >&2
        exit 2
        ;;
    esac
done
exit $failed
