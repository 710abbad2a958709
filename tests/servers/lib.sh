# shellcheck shell=bash
# Functions shared by the scripts of this folder. Sourced, never run.
#
# An instance is a folder (DIR). It holds everything one server owns: data, logs, configuration, and
#   instance.env   its ports and names, written at the first start and kept, so that a restart finds them
#   NAME.pid       "PID START_TIME" of a process this folder started
# Processes are ended only through these files: by pid, and only if the start time still matches, so that
# a number that the system has given to somebody else is never hit.

SERVERS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions.env
. "$SERVERS_DIR/versions.env"

# The server's user must be able to read what we write, whatever the caller's umask.
umask 022

# A loaded two-core machine needs patience; a server that is ready sooner is reported sooner.
START_DEADLINE=${DIFYLOG_START_DEADLINE:-300}
STOP_DEADLINE=${DIFYLOG_STOP_DEADLINE:-60}

log() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { log "error: $*"; exit 1; }

need() { # COMMAND GROUP: the command must exist; GROUP is what install.sh installs it by
  command -v "$1" >/dev/null || die "$1 is missing; run $SERVERS_DIR/install.sh $2"
}

# ---- users -------------------------------------------------------------------------------------------------

# The servers refuse to run as root, or should not. For root, fills the array AS_USER with the words that make a
# command run as USER without any privilege; for anybody else with nothing: then the servers run as the caller.
become() { # USER
  AS_USER=() RUN_USER=$(id -un)
  if [[ $EUID -eq 0 ]]; then
    id -u "$1" >/dev/null 2>&1 || die "the system user $1 does not exist; run $SERVERS_DIR/install.sh"
    RUN_USER=$1
    AS_USER=(setpriv "--reuid=$1" "--regid=$(id -gn "$1")" --init-groups)
  fi
}

own() { [[ $EUID -ne 0 ]] || chown -R "$RUN_USER:" "$@"; }   # PATH...

# Creates DIR, owned by the server's user, and makes sure that this user can reach it.
# Root's temporary folders are closed to others (mode 700). Below the temporary folder the missing right to pass
# through is added, as tests put their instances there; anywhere else that is the owner's decision, not ours.
prepare_dir() { # DIR; sets DIR to its absolute path
  mkdir -p "$1"
  DIR=$(cd "$1" && pwd -P)
  [[ $EUID -eq 0 ]] || return 0
  chown "$RUN_USER:" "$DIR"
  local temp parent=$DIR
  temp=$(cd "${TMPDIR:-/tmp}" && pwd -P)
  until "${AS_USER[@]}" test -w "$DIR"; do
    parent=${parent%/*}
    [[ $parent == "$temp"/* ]] || die "the user $RUN_USER cannot reach $DIR; choose a folder below $temp"
    chmod o+x "$parent"
  done
}

# ---- what an instance remembers ----------------------------------------------------------------------------

recall() { # KEY: prints its value, nothing if it was never kept
  [[ ! -f $DIR/instance.env ]] || sed -n "s/^$1=//p" "$DIR/instance.env"
}

remember() { # KEY VALUE
  local rest=''
  [[ ! -f $DIR/instance.env ]] || rest=$(grep -v "^$1=" "$DIR/instance.env" || true)
  printf '%s\n' ${rest:+"$rest"} "$1=$2" >"$DIR/instance.env"
}

# ---- ports -------------------------------------------------------------------------------------------------

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a free port. Chosen below the range that the system gives to outgoing connections: from inside it, a port
# could be lost to such a connection while a server restarts. What was handed out in the last minutes is not handed
# out again, so that servers started at the same time don't get the same port.
free_port() {
  local file=${TMPDIR:-/tmp}/difylog-ports.$EUID port now recent
  now=$(date +%s)
  (
    flock 9
    recent=$(awk -v now="$now" '$2 > now - 300' "$file" 2>/dev/null || true)
    while :; do
      port=$((20000 + RANDOM % 12000))
      grep -q "^$port " <<<"$recent" || port_in_use "$port" || break
    done
    printf '%s\n' ${recent:+"$recent"} "$port $now" >"$file"
    echo "$port"
  ) 9>>"$file.lock"
}

# The port KEY of this instance: the one asked for, else the remembered one, else a new one. Sets the variable KEY.
claim_port() { # KEY [PORT]
  local port=${2:-$(recall "$1")}
  port=${port:-$(free_port)}
  [[ $port =~ ^[0-9]+$ ]] || die "not a port number: $port"
  remember "$1" "$port"
  printf -v "$1" '%s' "$port"
}

# ---- processes ---------------------------------------------------------------------------------------------

# Field 22 of /proc/PID/stat; fails for a process that is gone or a zombie. The name in field 2 may hold spaces and
# brackets, so fields are counted behind its last bracket.
start_time() { # PID
  local line fields
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${line##*) }"
  [[ ${fields[0]} != [ZX] ]] && echo "${fields[19]}"
}

running() { # NAME: prints the pid of the process of DIR/NAME.pid if it is alive
  local pid time
  { read -r pid time <"$DIR/$1.pid"; } 2>/dev/null || return 1
  [[ $(start_time "$pid") == "$time" ]] && echo "$pid"
}

# Starts a daemon as RUN_USER: own session, no terminal, no inherited output (a caller that reads our output to its
# end would wait for the daemon), and an environment of its own, so that two machines start the same thing.
spawn() { # NAME LOG VARIABLE=VALUE... -- COMMAND...
  local name=$1 log=$2 pid environment=()
  shift 2
  while [[ $1 != -- ]]; do environment+=("$1"); shift; done
  shift
  : >>"$log"
  own "$log"
  (
    cd "$DIR" && exec setsid "${AS_USER[@]}" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      LANG=C.UTF-8 "${environment[@]}" "$@" </dev/null >>"$log" 2>&1
  ) &
  pid=$!
  disown "$pid"
  echo "$pid $(start_time "$pid" || echo gone)" >"$DIR/$name.pid"
}

# Polls COMMAND until it succeeds. Ends at once if the process NAME dies: then there is nothing to wait for.
await_ready() { # NAME LOG COMMAND...
  local name=$1 log=$2 deadline=$((SECONDS + START_DEADLINE))
  shift 2
  until "$@"; do
    if ! running "$name" >/dev/null; then
      tail_of "$log"
      kill_server
      die "$name ended while starting; its log is $log"
    fi
    if ((SECONDS >= deadline)); then
      tail_of "$log"
      kill_server
      die "$name was not ready within $START_DEADLINE s (DIFYLOG_START_DEADLINE); its log is $log"
    fi
    sleep 0.1
  done
}

tail_of() { log "the end of $1:"; tail -n 30 "$1" >&2 || true; }

# Asks the process NAME to end and waits for it. One that doesn't is killed, and that is an error.
halt() { # NAME SIGNAL
  local pid deadline=$((SECONDS + STOP_DEADLINE))
  if pid=$(running "$1"); then
    kill -s "$2" "$pid" 2>/dev/null || true
    while running "$1" >/dev/null; do
      ((SECONDS < deadline)) || { slay "$1"; die "$1 (pid $pid) did not stop within $STOP_DEADLINE s; killed it"; }
      sleep 0.05
    done
  fi
  rm -f "$DIR/$1.pid"
}

descendants() { # PID
  local child
  for child in $(pgrep -P "$1"); do echo "$child"; descendants "$child"; done
}

# Ends the process NAME and its children the way a power cut does, and returns when they are gone.
slay() { # NAME
  local pid victim victims=()
  if pid=$(running "$1"); then
    mapfile -t victims < <(echo "$pid"; descendants "$pid")
    kill -KILL "${victims[@]}" 2>/dev/null || true
    for victim in "${victims[@]}"; do
      while start_time "$victim" >/dev/null; do sleep 0.02; done
    done
  fi
  rm -f "$DIR/$1.pid"
}

# ---- the commands every server has -------------------------------------------------------------------------

# The script that calls this defines SERVER_USER and the functions
#   boot [PORT]   start the server in DIR, return when it answers
#   stop_server, kill_server
#   print_env     KEY=VALUE lines that tell a client where it is
#   is_running
instance_command() { # start|stop|kill|restart|env DIR [PORT]
  local command=$1
  become "$SERVER_USER"
  case $command in
    start | restart) prepare_dir "$2" ;;
    *)
      if [[ ! -f $2/instance.env ]]; then
        [[ $command == env ]] && die "no server was ever started in $2"
        log "nothing to $command in $2"
        return 0
      fi
      DIR=$(cd "$2" && pwd -P)
      ;;
  esac
  case $command in
    start)
      if is_running; then log "already running in $DIR"; else boot "${3:-}"; fi
      print_env
      ;;
    restart)
      stop_server
      boot "${3:-}"
      print_env
      ;;
    stop) stop_server ;;
    kill) kill_server ;;
    env) print_env ;;
  esac
}

# ---- finding what is installed ------------------------------------------------------------------------------

# Prints the folder of PostgreSQL's programs, which are not on the PATH: the pinned version's, else the newest one's.
find_postgres() {
  local folder
  for folder in "/usr/lib/postgresql/$POSTGRESQL/bin" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    [[ ! -x $folder/initdb ]] || { echo "$folder"; return; }
  done
  return 1
}

java_version() { sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$1/release" 2>/dev/null; }   # JDK: prints e.g. 17.0.15

# Prints the home of a JDK: for 17 exactly that release, for 21 that or a newer one. The variable DIFYLOG_JDK17 or
# DIFYLOG_JDK21 decides alone if it is set. Versions are read from the JDKs' own "release" files, no JVM is started.
find_jdk() { # 17|21
  local key=DIFYLOG_JDK$1 candidate release best='' best_release=0
  for candidate in ${!key:+"${!key}"} ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
    [[ -x $candidate/bin/javac ]] || continue
    release=$(java_version "$candidate")
    release=${release%%.*}
    [[ $release =~ ^[0-9]+$ ]] || continue
    if (($1 == 17 ? release == 17 : release >= $1)) && ((best_release == 0 || release < best_release)); then
      best=$candidate best_release=$release
    fi
    [[ -z ${!key:-} ]] || break
  done
  [[ -n $best ]] && readlink -f "$best"
}
