#!/bin/bash
# Installs what the servers under test need, from the distribution's packages, and only what is missing.
#
#   install.sh [rabbitmq] [postgres] [engines] [python] [nginx] [redis] [browser] [axe]     without an argument: all
#
# For Debian and Ubuntu. Runs as root, or uses sudo. Says one line for each thing that it does, and nothing if
# everything is there.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=engines.sh
. "$SERVERS_DIR/engines.sh"

# An ordinary user of Debian has no system programs on his path; what is there already would be installed once more.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
SUDO=()
if [[ $EUID -ne 0 ]]; then SUDO=(sudo); fi
UPDATED=''

has() { command -v "$1" >/dev/null; }

update_lists() {
  [[ -z $UPDATED ]] || return 0
  log "updating the package lists"
  "${SUDO[@]}" apt-get update -qq >/dev/null || log "apt-get update failed; going on with the lists at hand"
  UPDATED=yes
}

install() { # PACKAGE...
  has apt-get || die "$* missing, and no apt-get to install it with: install it by hand"
  [[ ${#SUDO[@]} -eq 0 ]] || has sudo || die "$* missing: run this as root, or install sudo"
  update_lists
  log "installing $*"
  local output
  output=$("${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" 2>&1) ||
    { printf '%s\n' "$output" | tail -n 20 >&2; die "apt-get could not install $*"; }
}

# The package starts a service of its own, which would hold ports and memory and is not used here. Called only right
# after the package was installed: a service that was there before is somebody's, and our servers get along with it.
silence() { # SERVICE
  log "stopping the service $1 that the package started"
  if [[ -d /run/systemd/system ]]; then
    "${SUDO[@]}" systemctl disable --now "$1" >/dev/null 2>&1 || true
  else
    "${SUDO[@]}" service "$1" stop >/dev/null 2>&1 || true
  fi
}

install_tools() { # what the scripts themselves use
  local packages=()
  has cc || packages+=(gcc libc6-dev)   # SQLite, zstd and ring are compiled, and rustc links with it
  has curl || packages+=(curl)
  has python3 || packages+=(python3)   # for the tests
  has pgrep || packages+=(procps)
  { has setpriv && has flock && has setsid; } || packages+=(util-linux)
  [[ $EUID -ne 0 ]] || has useradd || packages+=(passwd)   # the servers of root run as users of their own
  [[ ${#packages[@]} -eq 0 ]] || install "${packages[@]}"
}

install_python() { # virtual environments, and a clock that stands still
  python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
  has faketime || install faketime
}

install_browser() { # for the log explorer's tests, with a font that has Chinese
  { has chromium || has chromium-browser; } && has chromedriver || install chromium chromium-driver
  [[ -n $(fc-list :lang=zh 2>/dev/null | head -c 1) ]] || install fontconfig fonts-wqy-zenhei
}

install_axe() { # axe-core, which looks for barriers in the log explorer's pages; for the tests only, kept outside the repository
  local folder=${XDG_CACHE_HOME:-$HOME/.cache}/difylog/axe-core-$AXE_CORE
  [[ ! -f $folder/axe.min.js ]] || return 0
  has npm || install npm
  log "fetching axe-core $AXE_CORE from npm"
  local packed
  packed=$(mktemp -d)
  (cd "$packed" && npm pack --silent "axe-core@$AXE_CORE" >/dev/null) || die "npm could not fetch axe-core $AXE_CORE"
  tar -xzf "$packed"/axe-core-*.tgz -C "$packed" package/axe.min.js
  mkdir -p "$folder"
  mv "$packed/package/axe.min.js" "$folder/axe.min.js"
  rm -rf "$packed"
}

install_rabbitmq() {
  local had_epmd=''
  if has epmd; then
    had_epmd=yes
    [[ ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] && ! has rabbitmq-server || return 0
  fi
  install rabbitmq-server
  silence rabbitmq-server
  # The service leaves the name server of Erlang nodes behind; this stops it unless a node is registered with it.
  [[ -n $had_epmd ]] || epmd -kill >/dev/null 2>&1 || true
}

install_postgres() { # and a pooler before it
  has pgbouncer || { install pgbouncer; silence pgbouncer; }
  ! find_postgres >/dev/null || return 0
  update_lists
  local package=postgresql-$POSTGRESQL
  if ! apt-cache show "$package" >/dev/null 2>&1; then
    package=postgresql
    log "the distribution has no PostgreSQL $POSTGRESQL, taking the version it has"
  fi
  install "$package"
  silence postgresql
}

install_nginx() {
  ! has nginx || return 0
  install nginx-light
  silence nginx
}

install_redis() { # for scripts/test-dify
  ! has redis-server || return 0
  install redis-server
  silence redis-server
}

install_engines() {
  has mvn || install maven
  find_zstd >/dev/null || install libzstd1
  install_jdk 17 openjdk-17-jdk-headless
  install_jdk 21 openjdk-25-jdk-headless openjdk-21-jdk-headless
}

install_jdk() { # 17|21 PACKAGE...: the first package that the distribution has
  ! find_jdk "$1" >/dev/null || return 0
  local package release=$1
  shift
  update_lists
  for package; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      install "$package"
      find_jdk "$release" >/dev/null && return 0
    fi
  done
  [[ $release == 17 ]] || release="21 or newer"
  die "no JDK $release is installed and the distribution has none of: $*. Install a JDK $release under /usr/lib/jvm," \
    "or set DIFYLOG_JDK${release%% *} to the folder of one."
}

groups=("$@")
[[ ${#groups[@]} -gt 0 ]] || groups=(rabbitmq postgres engines python nginx redis browser axe)
for group in "${groups[@]}"; do
  case $group in
    rabbitmq | postgres | engines | python | nginx | redis | browser | axe) ;;
    *) die "usage: install.sh [rabbitmq] [postgres] [engines] [python] [nginx] [redis] [browser] [axe]" ;;
  esac
done
install_tools
for group in "${groups[@]}"; do "install_$group"; done
