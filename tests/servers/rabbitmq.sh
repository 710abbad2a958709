#!/bin/bash
# A private RabbitMQ node, for tests.
#
#   rabbitmq.sh start DIR [PORT]     returns when the node accepts AMQP connections; prints what `env` prints
#   rabbitmq.sh restart DIR [PORT]   stop and start; data and port are kept
#   rabbitmq.sh stop DIR             a clean stop
#   rabbitmq.sh kill DIR             SIGKILL
#   rabbitmq.sh env DIR              AMQP_URL=amqp://guest:guest@127.0.0.1:PORT/%2f, and AMQPS_URL=... if it has TLS
#   rabbitmq.sh ctl DIR ARGS...      rabbitmqctl on this node
#
# RABBITMQ_TLS        a folder with ca.pem, server.pem and server.key: the node listens with TLS as well (kept)
# RABBITMQ_PLUGINS    plugins to enable, by comma: rabbitmq_management,...  (none unless asked; read at each start)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SERVER_USER=rabbitmq   # created by the package
PORT='' TLS_PORT='' DIST_PORT='' EPMD_PORT=''   # claim_port sets them

# The package's /usr/sbin scripts are wrappers that log to /var/log and change the user; the real ones are here.
rabbitmq_script() { # NAME
  local real=/usr/lib/rabbitmq/bin/$1
  [[ -x $real ]] || real=$(command -v "$1") || die "$1 is missing; run $SERVERS_DIR/install.sh rabbitmq"
  echo "$real"
}

# What the server and rabbitmqctl must agree on. HOME holds the cookie. The node has an epmd (the name server of Erlang
# nodes) of its own: a shared one would outlive every node, and its owner would be whoever came first.
node_environment() {
  NODE_ENVIRONMENT=(
    "HOME=$DIR"
    "ERL_EPMD_ADDRESS=127.0.0.1"
    "ERL_EPMD_PORT=$(recall EPMD_PORT)"
    "ERL_CRASH_DUMP=$DIR/log/erl_crash.dump"
    "RABBITMQ_NODENAME=$(recall NODENAME)"
    "RABBITMQ_CONF_ENV_FILE=$DIR/conf/rabbitmq-env.conf"   # and not the one in /etc
    "RABBITMQ_CONFIG_FILE=$DIR/conf/rabbitmq.conf"
    "RABBITMQ_ADVANCED_CONFIG_FILE=$DIR/conf/advanced.config"
    "RABBITMQ_ENABLED_PLUGINS_FILE=$DIR/conf/enabled_plugins"
    "RABBITMQ_MNESIA_BASE=$DIR/mnesia"
    "RABBITMQ_LOG_BASE=$DIR/log"
    "RABBITMQ_LOGS=$DIR/log/rabbit.log"
    "RABBITMQ_PID_FILE=$DIR/mnesia/rabbit.pid"
  )
}

configure() { # PORT
  local tls
  tls=$(recall TLS)
  mkdir -p "$DIR"/{conf,log,mnesia}
  if [[ ! -f $DIR/.erlang.cookie ]]; then
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$DIR/.erlang.cookie"
    chmod 400 "$DIR/.erlang.cookie"
  fi
  : >"$DIR/conf/rabbitmq-env.conf"
  echo '[].' >"$DIR/conf/advanced.config"
  echo "[${RABBITMQ_PLUGINS:-}]." >"$DIR/conf/enabled_plugins"
  {
    echo "listeners.tcp.local = 127.0.0.1:$1"
    # A nearly full machine must not block publishers.
    echo "disk_free_limit.absolute = 50MB"
    # RabbitMQ 4 has 16 MiB, too little for the largest messages of the tests.
    echo "max_message_size = 134217728"
    if [[ -n $tls ]]; then
      echo "listeners.ssl.local = 127.0.0.1:$TLS_PORT"
      echo "ssl_options.cacertfile = $tls/ca.pem"
      echo "ssl_options.certfile = $tls/server.pem"
      echo "ssl_options.keyfile = $tls/server.key"
      echo "ssl_options.verify = verify_none"   # of clients
    fi
  } >"$DIR/conf/rabbitmq.conf"
  own "$DIR/.erlang.cookie" "$DIR"/{conf,log,mnesia}
}

boot() { # [PORT]
  local server
  server=$(rabbitmq_script rabbitmq-server)
  need epmd rabbitmq
  claim_port PORT "${1:-}"
  [[ -z ${RABBITMQ_TLS:-} ]] || remember TLS "$RABBITMQ_TLS"
  [[ -z $(recall TLS) ]] || claim_port TLS_PORT
  claim_port DIST_PORT
  claim_port EPMD_PORT
  # The name is part of the data's path, so it is kept too.
  [[ -n $(recall NODENAME) ]] || remember NODENAME "difylog-$(cksum <<<"$DIR" | cut -d' ' -f1)@localhost"
  configure "$PORT"
  node_environment

  # One that was left by a node that died by itself is taken over.
  running epmd >/dev/null || spawn epmd "$DIR/log/epmd.log" -- epmd -address 127.0.0.1 -port "$EPMD_PORT"
  await_ready epmd "$DIR/log/epmd.log" port_in_use "$EPMD_PORT"

  local boots
  boots=$(boots)
  # RUNNING_UNDER_SYSTEMD makes the script become the Erlang VM instead of waiting for it, so that the pid is the node's.
  # Two schedulers, and none bound to a core: nodes side by side would all bind to the same ones.
  # A very short busy wait, and not none: a boot is ten thousands of handovers between threads, and where waking a
  # thread is slow (virtual machines) it took 11 s without and 4 s with it. An idle node still uses under 1% of a core.
  spawn rabbitmq "$DIR/log/output.log" "${NODE_ENVIRONMENT[@]}" \
    RUNNING_UNDER_SYSTEMD=true \
    "RABBITMQ_DIST_PORT=$DIST_PORT" \
    RABBITMQ_SCHEDULER_BIND_TYPE=u \
    RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=very_short \
    'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}' \
    -- "$server"
  await_ready rabbitmq "$DIR/log/output.log" speaks_amqp "$PORT"
  # Its listeners start one after the other.
  [[ -z $TLS_PORT ]] || await_ready rabbitmq "$DIR/log/output.log" port_in_use "$TLS_PORT"
  # A moment later rabbitmqctl may ask it.
  await_ready rabbitmq "$DIR/log/output.log" has_booted "$boots"
}

boots() { cat "$DIR"/log/{output,rabbit}.log 2>/dev/null | grep -cE 'Starting broker\.\.\. completed|Server startup complete' || true; }
has_booted() { (($(boots) > $1)); }

# Sends the protocol header and expects the first byte of Connection.Start: a method frame (1).
# In a subshell, which a connection closed too early may end by SIGPIPE.
speaks_amqp() ( # PORT
  exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf 'AMQP\x00\x00\x09\x01' >&3
  IFS= read -r -n 1 -t 5 -u 3 byte && [[ $byte == $'\x01' ]]
)

is_running() { running rabbitmq >/dev/null; }
stop_server() { halt rabbitmq TERM; halt epmd TERM; }
kill_server() { slay rabbitmq; slay epmd; }
print_env() {
  local tls
  tls=$(recall TLS_PORT)
  echo "AMQP_URL=amqp://guest:guest@127.0.0.1:$(recall PORT)/%2f"
  [[ -z $tls ]] || echo "AMQPS_URL=amqps://guest:guest@127.0.0.1:$tls/%2f"
}

control() { # DIR ARGS...
  local ctl
  ctl=$(rabbitmq_script rabbitmqctl)
  become "$SERVER_USER"
  DIR=$(cd "$1" && pwd -P)
  shift
  is_running || die "no node runs in $DIR"
  node_environment
  cd "$DIR"
  exec "${AS_USER[@]}" env -i "PATH=$PATH" LANG=C.UTF-8 "${NODE_ENVIRONMENT[@]}" "$ctl" "$@"
}

case ${1:-} in
  start | stop | kill | restart | env)
    [[ $# -ge 2 && $# -le 3 ]] || die "usage: rabbitmq.sh $1 DIR [PORT]"
    instance_command "$@"
    ;;
  ctl)
    [[ $# -ge 3 ]] || die "usage: rabbitmq.sh ctl DIR ARGS..."
    shift
    control "$@"
    ;;
  *) die "usage: rabbitmq.sh start|stop|kill|restart|env DIR [PORT], or ctl DIR ARGS..." ;;
esac
