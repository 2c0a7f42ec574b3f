#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Writes a small Debian root filesystem as a tar archive to stdout.
# Usage: mkbase.sh SUITE
#
# WHY mmdebstrap: the demo must build where no image can be pulled; a package
# mirror is all it needs. No mirror is named: apt's own configuration decides.
set -euo pipefail

suite=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Packages must not start daemons while an image is being built.
printf '#!/bin/sh\nexit 101\n' >"$work/policy-rc.d"
chmod 755 "$work/policy-rc.d"

# Small layers: no recommended packages, no translations, no kept archives.
cat >"$work/apt.conf" <<'CONF'
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Binary::apt::APT::Keep-Downloaded-Packages "false";
DPkg::Post-Invoke {"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true";};
APT::Update::Post-Invoke {"rm -f /var/cache/apt/*.bin || true";};
CONF

# mmdebstrap, not this shell, expands $1 in a hook: its root directory.
# The merged-usr hook works around suites whose base-files expects /bin to be
# a link already; force-unsafe-io because an aborted build is thrown away.
# shellcheck disable=SC2016
mmdebstrap --quiet --mode=root --variant=minbase \
  --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
  --include=ca-certificates,tini,curl \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="upload $work/policy-rc.d /usr/sbin/policy-rc.d" \
  --customize-hook="upload $work/apt.conf /etc/apt/apt.conf.d/90small" \
  --customize-hook='rm -rf "$1"/var/log/*.log "$1"/var/log/apt' \
  "$suite" -
