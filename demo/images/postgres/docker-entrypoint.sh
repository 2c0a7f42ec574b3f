#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Keeps the contract of the official image as far as operations rely on it:
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB (each also as *_FILE),
# POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD, PGDATA, the init directory,
# and a first argument that starts with "-" is an option of postgres.
set -Eeuo pipefail

[[ ${1:-} == -* ]] && set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"
  chmod 3775 /var/run/postgresql
  chown postgres:postgres /var/run/postgresql
  find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups \
    env HOME=/var/lib/postgresql "${BASH_SOURCE[0]}" "$@"
fi

# setting NAME DEFAULT: the value of NAME, or of the file that NAME_FILE names.
setting() {
  local file="${1}_FILE"
  if [[ -n ${!1:-} ]]; then
    printf '%s' "${!1}"
  elif [[ -n ${!file:-} ]]; then
    printf '%s' "$(<"${!file}")"
  else
    printf '%s' "$2"
  fi
}

initialise() {
  local user password database auth
  user=$(setting POSTGRES_USER postgres)
  password=$(setting POSTGRES_PASSWORD '')
  database=$(setting POSTGRES_DB "$user")
  auth=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [[ -z $password && $auth != trust ]]; then
    echo 'The database is not initialised and POSTGRES_PASSWORD is empty: set it.' >&2
    exit 1
  fi
  # Word splitting is the documented meaning of POSTGRES_INITDB_ARGS.
  # shellcheck disable=SC2086
  initdb --username="$user" --encoding=UTF8 --locale=C.UTF-8 \
    --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "$auth" >>"$PGDATA/pg_hba.conf"

  # A private server on a socket in /tmp: nobody may connect half way through.
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
  local -a sql=(psql -v ON_ERROR_STOP=1 --no-password -h /tmp -U "$user")
  export PGPASSWORD=$password
  if [[ $database != postgres ]]; then
    "${sql[@]}" -d postgres -v name="$database" <<<'CREATE DATABASE :"name";'
  fi
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) "${sql[@]}" -d "$database" -f "$script" ;;
      *.sql.gz) gunzip -c "$script" | "${sql[@]}" -d "$database" ;;
    esac
  done
  unset PGPASSWORD
  pg_ctl -D "$PGDATA" -m fast -w stop
}

[[ -s $PGDATA/PG_VERSION ]] || initialise
# The clients of the second package look for the socket in /tmp, everybody
# else in /var/run/postgresql: serve both.
exec postgres -c unix_socket_directories='/tmp,/var/run/postgresql' "${@:2}"
