#!/bin/bash
# A private search engine of one node, for tests.
# NAME: opensearch-2, opensearch-3, elasticsearch-7, elasticsearch-8 or elasticsearch-9.
#
#   engine.sh assemble NAME             build the installation in the cache, once; `start` does it where it is missing
#   engine.sh start NAME DIR [PORT]     returns when the cluster is at least yellow; prints what `env` prints
#   engine.sh restart NAME DIR [PORT]   stop and start; data and port are kept
#   engine.sh stop NAME DIR             a clean stop
#   engine.sh kill NAME DIR             SIGKILL
#   engine.sh env NAME DIR              ENGINE_URL=http://127.0.0.1:PORT
#
# ENGINE_HEAP       the heap, 2g unless set
# ENGINE_SETTINGS   more lines for the engine's yml, as "action.auto_create_index: false"
# ENGINE_JAVA_OPTS  more options for the Java VM (these three are read at each start)
# DIFYLOG_CACHE     where installations are kept, ~/.cache/difylog unless set
# DIFYLOG_JDK17, DIFYLOG_JDK21   a JDK 17, and a JDK 21 or newer, where they are not under /usr/lib/jvm
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=engines.sh
. "$SERVERS_DIR/engines.sh"

SERVER_USER=difylog-test   # the engines refuse to run as root
PORT='' TRANSPORT_PORT=''  # claim_port sets them

create_user() {
  [[ $EUID -ne 0 ]] || id -u "$SERVER_USER" >/dev/null 2>&1 ||
    useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --user-group "$SERVER_USER"
}

# The engine finds its modules below its home and may not be given them elsewhere, and the cache may lie in a folder
# that its user cannot enter (root's home). So the instance gets a home of hard links: as good as a copy, at no cost.
link_home() {
  local home=$DIR/home
  [[ $(cat "$home/recipe" 2>/dev/null) != "$(cat "$HOME_CACHED/recipe")" ]] || return 0
  rm -rf "$home"
  cp -al "$HOME_CACHED" "$home" 2>/dev/null || { rm -rf "$home"; cp -a "$HOME_CACHED" "$home"; }   # another disk
}

configure() { # PORT TRANSPORT_PORT
  mkdir -p "$DIR"/{config,data,logs,tmp,repository}
  cat >"$DIR/config/$FAMILY.yml" <<YML
cluster.name: difylog-test
node.name: node-1
discovery.type: single-node
network.host: 127.0.0.1
http.port: $1
transport.port: $2
path.data: $DIR/data
path.logs: $DIR/logs
path.repo: $DIR/repository
# A nearly full machine must not make indices read-only.
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 3000
# What waits to be collected is no reason to refuse requests: a serial collector is in no hurry.
indices.breaker.total.use_real_memory: false
${ENGINE_SETTINGS:-}
YML
  cat >"$DIR/config/log4j2.properties" <<'PROPERTIES'
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
PROPERTIES
  own "$DIR"/{config,data,logs,tmp,repository}
}

is_ready() { # PORT
  curl -sf -m 10 -o /dev/null "http://127.0.0.1:$1/_cluster/health?wait_for_status=yellow&timeout=5s"
}

boot() { # [PORT]
  need curl engines
  assemble "$NAME"
  claim_port PORT "${1:-}"
  claim_port TRANSPORT_PORT
  link_home
  configure "$PORT" "$TRANSPORT_PORT"
  java_arguments "$DIR/home" "$DIR/config"
  local heap=${ENGINE_HEAP:-2g} options
  read -ra options <<<"${ENGINE_JAVA_OPTS:-}"
  spawn engine "$DIR/logs/output.log" \
    "HOME=$DIR/tmp" "LIBFFI_TMPDIR=$DIR/tmp" "ES_TMPDIR=$DIR/tmp" "OPENSEARCH_TMPDIR=$DIR/tmp" \
    -- "$JDK/bin/java" "-Xms$heap" "-Xmx$heap" "-Djava.io.tmpdir=$DIR/tmp" "-XX:ErrorFile=$DIR/logs/hs_err_%p.log" \
    "${options[@]}" "${JAVA_ARGUMENTS[@]}"
  await_ready engine "$DIR/logs/output.log" is_ready "$PORT"
}

is_running() { running engine >/dev/null; }
stop_server() { halt engine TERM; }
kill_server() { slay engine; }
print_env() { echo "ENGINE_URL=http://127.0.0.1:$(recall PORT)"; }

usage="usage: engine.sh assemble NAME, or start|stop|kill|restart|env NAME DIR [PORT]"
command=${1:-} NAME=${2:-}
case $command in
  assemble)
    [[ $# -eq 2 ]] || die "$usage"
    describe_engine "$NAME"
    assemble "$NAME"
    ;;
  start | stop | kill | restart | env)
    [[ $# -ge 3 && $# -le 4 ]] || die "$usage"
    case $command in start | restart) describe_engine "$NAME" ;; esac
    create_user
    instance_command "$command" "${@:3}"
    ;;
  *) die "$usage" ;;
esac
