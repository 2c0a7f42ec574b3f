#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs ansible-test sanity on a copy of what git would commit. ansible-test only
# accepts a tree that really lies in ansible_collections/carrental/ops, and says
# "skipped" with exit code 0 where it finds nothing to test: both are handled.
#
#   tests/sanity/run.sh [arguments of ansible-test sanity]
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
copy=$root/.build/ansible_collections/carrental/ops
python=$("$root/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
export PATH="$root/.venv/bin:$PATH"

# ansible-test makes an environment a test and fetches pip for it from a site of
# its own. The pip that came with this Python does as well, and needs no network.
pip_version=$(python - <<'PY'
import sys

import ansible_test

sys.path.insert(0, ansible_test.__path__[0])
from ansible_test._internal.python_requirements import collect_bootstrap
from ansible_test._internal.host_configs import VirtualPythonConfig

print(collect_bootstrap(VirtualPythonConfig(version="3.11", path=sys.executable))[0].pip_version)
PY
)
pip_name=get_pip_${pip_version//./_}.py
cache=$HOME/.ansible/test/cache
if [[ ! -e $cache/$pip_name ]]; then
  mkdir -p "$cache"
  printf 'import ensurepip\nensurepip.bootstrap(upgrade=True)\n' >"$cache/$pip_name"
fi

rm -rf "$root/.build/ansible_collections/carrental"
mkdir -p "$copy"
# What is shipped, and the unit tests. Not the link to ourselves, the demo and the
# scenarios: lint and mypy read those, and links to folders are not allowed here.
git ls-files -z -co --exclude-standard -- . ':!collections/ansible_collections' ':!demo' ':!molecule' ':!tests/bench' |
  while IFS= read -r -d '' file; do [[ -e $file || -L $file ]] && printf '%s\0' "$file"; done |
  xargs -0 cp --parents -Pt "$copy"
cd "$copy"
# A copy inside an ignored folder counts as ignored unless it is its own checkout.
git init -q .
git add -A

log=$root/.build/sanity.log
ansible-test sanity --local --color no --python "$python" "$@" 2>&1 | tee "$log"
if grep -qE 'All targets skipped|No tests applicable' "$log"; then
  echo "sanity: ansible-test found nothing to test in $copy; that is a failure of this script" >&2
  exit 1
fi
