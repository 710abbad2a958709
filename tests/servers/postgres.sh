#!/bin/bash
# A private PostgreSQL server, for tests.
#
#   postgres.sh start DIR [PORT]     returns when the server accepts connections; prints what `env` prints
#   postgres.sh restart DIR [PORT]   stop and start; data and port are kept
#   postgres.sh stop DIR             a fast shutdown: clients are disconnected, the data is flushed
#   postgres.sh kill DIR             SIGKILL
#   postgres.sh env DIR              PG_URL=postgres://postgres@127.0.0.1:PORT/difylog             (superuser, trusted)
#                                    PG_PASSWORD_URL=postgres://difylog:difylog@127.0.0.1:PORT/difylog
#                                    (owner of the database; its password is checked, by scram-sha-256)
#
# POSTGRES_FSYNC=off   faster, and still safe against `kill`: only a crash of the machine can lose data
# POSTGRES_SETTINGS    more lines for postgresql.conf (both are read at each start)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SERVER_USER=postgres   # created by the package
PORT=''                # claim_port sets it

as_server() { (cd "$DIR" && "${AS_USER[@]}" env -i PATH="$PROGRAMS:$PATH" LANG=C.UTF-8 "$@"); }

create_cluster() {
  # Built beside its place, so that an interrupted initdb is not taken for a cluster. --no-sync: an empty
  # cluster is no loss.
  rm -rf "$DIR/data.new"
  as_server initdb --pgdata="$DIR/data.new" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
    --no-sync >"$DIR/initdb.log" 2>&1 || { tail_of "$DIR/initdb.log"; die "initdb failed"; }
  echo "include '$DIR/difylog.conf'" >>"$DIR/data.new/postgresql.conf"
  # The first line that fits decides.
  cat >"$DIR/data.new/pg_hba.conf" <<'HBA'
local all all                  trust
host  all difylog 127.0.0.1/32 scram-sha-256
host  all all     127.0.0.1/32 trust
HBA
  mv "$DIR/data.new" "$DIR/data"
}

configure() { # PORT
  # The path of a unix socket may have 107 bytes; with a deep DIR there is none, and clients use TCP anyway.
  local sockets=$DIR
  ((${#DIR} <= 80)) || sockets=''
  cat >"$DIR/difylog.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = '$sockets'
max_connections = 100
shared_buffers = 128MB
fsync = ${POSTGRES_FSYNC:-on}
${POSTGRES_SETTINGS:-}
CONF
}

query() { # SQL: as superuser; prints the bare answer
  as_server psql -X -A -t -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PORT" -U postgres -d postgres -c "$1"
}

answers() { query 'SELECT 1' >/dev/null 2>&1; }

boot() { # [PORT]
  PROGRAMS=$(find_postgres) || die "PostgreSQL is missing; run $SERVERS_DIR/install.sh postgres"
  claim_port PORT "${1:-}"
  [[ -d $DIR/data ]] || create_cluster
  configure "$PORT"
  spawn postgres "$DIR/server.log" "TZ=UTC" -- "$PROGRAMS/postgres" -D "$DIR/data"
  await_ready postgres "$DIR/server.log" answers
  # Checked at each start: the first one may have been interrupted between the two.
  [[ -n $(query "SELECT 1 FROM pg_roles WHERE rolname = 'difylog'") ]] ||
    query "CREATE ROLE difylog LOGIN PASSWORD 'difylog'"
  [[ -n $(query "SELECT 1 FROM pg_database WHERE datname = 'difylog'") ]] ||
    query "CREATE DATABASE difylog OWNER difylog"
}

is_running() { running postgres >/dev/null; }
stop_server() { halt postgres INT; }
kill_server() {
  slay postgres
  # It and its children are gone, but the next start would believe its lock files if the pid still existed: as another
  # process of the same user, or as a zombie whose parent is slow.
  rm -f "$DIR/data/postmaster.pid" "$DIR"/.s.PGSQL.*
}
print_env() {
  local place
  place=127.0.0.1:$(recall PORT)/difylog
  echo "PG_URL=postgres://postgres@$place"
  echo "PG_PASSWORD_URL=postgres://difylog:difylog@$place"
}

case ${1:-} in
  start | stop | kill | restart | env)
    [[ $# -ge 2 && $# -le 3 ]] || die "usage: postgres.sh $1 DIR [PORT]"
    instance_command "$@"
    ;;
  *) die "usage: postgres.sh start|stop|kill|restart|env DIR [PORT]" ;;
esac
