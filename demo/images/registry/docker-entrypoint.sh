#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# An open registry, or one with a login when DEMO_REGISTRY_USER is set.
set -euo pipefail
config=/etc/docker/registry/demo.yml
cat >"$config" <<'YAML'
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/docker-registry}
  delete: {enabled: true}
http: {addr: ":5000"}
YAML
if [[ -n ${DEMO_REGISTRY_USER:-} ]]; then
  # The registry accepts bcrypt only. Perl is part of Debian's base and its
  # crypt() knows bcrypt, so no package is needed for one line.
  hash=$(perl -e 'print crypt($ENV{DEMO_REGISTRY_PASSWORD}, q($2b$05$carrentaldemosaltsalt.))')
  printf '%s:%s\n' "$DEMO_REGISTRY_USER" "$hash" >/etc/docker/registry/htpasswd
  printf 'auth: {htpasswd: {realm: carrental-demo, path: /etc/docker/registry/htpasswd}}\n' >>"$config"
fi
exec docker-registry serve "$config"
