#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
[ "${1:-}" = redis-server ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis '{}' +
  exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi
umask 0077
# Debian compiles protected mode in, the official image does not: without this
# no other container could connect while no password is set.
exec "$@" --protected-mode no
