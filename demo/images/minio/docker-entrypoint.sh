#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
: "${MINIO_ROOT_USER:?}" "${MINIO_ROOT_PASSWORD:?}"

# MinIO is called as "server /data --console-address :9001": only the path counts here.
directory=/data
for argument in "$@"; do
  case $argument in /*) directory=$argument ;; esac
done
mkdir -p "$directory"

export AWS_ACCESS_KEY_ID=$MINIO_ROOT_USER AWS_SECRET_ACCESS_KEY=$MINIO_ROOT_PASSWORD
weed -logtostderr=true mini -dir="$directory" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -webdav=false -admin.ui=false -master.telemetry=false -s3.port=8333 &
store=$!
nginx -c /etc/nginx/s3.conf -g 'daemon off;' &
front=$!

# Called by the trap below, which shellcheck does not follow.
# shellcheck disable=SC2317
stop() {
  trap '' TERM INT
  kill -QUIT "$front" 2>/dev/null || true
  kill -TERM "$store" 2>/dev/null || true
  wait "$store" || true
  exit 0
}
trap stop TERM INT
# One without the other is no object store: end together, let Docker restart.
wait -n || true
kill "$store" "$front" 2>/dev/null || true
exit 1
