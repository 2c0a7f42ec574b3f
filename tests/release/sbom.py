# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the bill of materials of the collection: what it is, what it needs (CycloneDX 1.6).

sbom.py <tree> <archive> <output>
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import yaml
from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement


def collection(name: str, version: str) -> PackageURL:
    """Return the name of a collection; there is no type for Galaxy."""
    return PackageURL("generic", *name.split("."), version)


def needed(tree: Path, galaxy: dict[str, object]) -> list[Component]:
    """Return the collections and the Python packages that the collection needs."""
    dependencies = galaxy["dependencies"]
    if not isinstance(dependencies, dict):
        raise TypeError(f"dependencies of galaxy.yml are {dependencies!r}; give a mapping")
    found = [
        Component(name=name, version=version, purl=collection(name, ""), type=ComponentType.LIBRARY)
        for name, version in dependencies.items()
    ]
    for line in (tree / "meta/ee-requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            wanted = Requirement(line)
            found.append(
                Component(
                    name=wanted.name,
                    version=str(wanted.specifier),
                    purl=PackageURL("pypi", None, wanted.name),
                    type=ComponentType.LIBRARY,
                )
            )
    return found


def main() -> None:
    """Write the bill, and prove it against the schema."""
    tree, archive, output = (Path(one) for one in sys.argv[1:])
    galaxy = yaml.safe_load((tree / "galaxy.yml").read_text())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    bom = Bom()
    bom.metadata.component = Component(
        name=f"{galaxy['namespace']}.{galaxy['name']}",
        version=galaxy["version"],
        purl=collection(f"{galaxy['namespace']}.{galaxy['name']}", galaxy["version"]),
        licenses=[LicenseExpression(galaxy["license"][0])],
        hashes=[HashTypeFactory().from_hashlib_alg("sha256", digest)],
        type=ComponentType.LIBRARY,
    )
    components = needed(tree, galaxy)
    bom.components.update(components)
    bom.register_dependency(bom.metadata.component, components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise SystemExit(f"{output} would not be a valid bill of materials: {wrong}")
    output.write_text(text + "\n")


if __name__ == "__main__":
    main()
