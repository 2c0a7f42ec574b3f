#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A release without the publishing: in a copy of what is committed it writes the changelog,
# builds the archive, has Galaxy's own importer judge it, builds the reference and writes the
# bill of materials. The tree stays as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
out=$root/.build/release
tree=$out/ansible_collections/carrental/ops
export PATH="$root/.venv/bin:$PATH"

if [[ -n $(git status --porcelain) ]]; then
  echo "release: not everything is committed; what is not would be missing: git status" >&2
  exit 1
fi
rm -rf "$out/ansible_collections" "$out/reference" "$out"/*.tar.gz
mkdir -p "$tree" "$out/reference"
git archive HEAD | tar -x -C "$tree"
version=$(sed -n 's/^version: //p' galaxy.yml)

echo "release: tools"
[[ -x $out/venv/bin/python ]] || "$root/.venv/bin/python" -m venv "$out/venv"
"$out/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-release.txt
# Everything below runs with these tools, and sees this copy alone.
export PATH="$out/venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$out" ANSIBLE_CONFIG="$out/ansible.cfg"
: >"$ANSIBLE_CONFIG"

echo "release: changelog of $version"
(cd "$tree" && git init -q . && "$root/.venv/bin/antsibull-changelog" release --version "$version" --reload-plugins)
grep -q "$version" "$tree/CHANGELOG.md"

echo "release: archive"
ansible-galaxy collection build --force --output-path "$out" "$tree"
archive=$out/carrental-ops-$version.tar.gz

echo "release: Galaxy's importer"
(cd "$out" && python -m galaxy_importer.main "$archive") >"$out/importer.log" 2>&1 || { cat "$out/importer.log"; exit 1; }
if grep -E '(WARNING|ERROR)' "$out/importer.log"; then
  echo "release: the importer is not content, see above and $out/importer.log" >&2
  exit 1
fi

echo "release: reference"
antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self "$tree"
antsibull-docs sphinx-init --use-current --lenient --dest-dir "$out/reference" carrental.ops >/dev/null
(cd "$out/reference" && antsibull-docs collection --use-current --fail-on-error --cleanup everything --dest-dir rst carrental.ops)
sphinx-build -q -c "$out/reference" -w "$out/sphinx.log" "$out/reference/rst" "$out/reference/html" 2>/dev/null
# Pages of Ansible's own documentation: without its inventory, which is fetched, nobody knows them.
elsewhere="failed to reach any of the inventories|undefined label: '(common_return_values|ansible_configuration_settings|action_plugins)'"
if grep WARNING "$out/sphinx.log" | grep -vE "$elsewhere"; then
  echo "release: the reference has warnings, see above and $out/sphinx.log" >&2
  exit 1
fi

echo "release: bill of materials"
python "$root/tests/release/sbom.py" "$tree" "$archive" "$out/carrental-ops-$version.cdx.json"

echo "release: $version could be published (nothing was):"
sha256sum "$archive" "$out/carrental-ops-$version.cdx.json"
echo "  reference: $out/reference/html/index.html"
echo "next: commit the changelog, tag v$version, ansible-galaxy collection publish $archive"
