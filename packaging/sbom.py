"""A bill of materials (CycloneDX 1.5, JSON) of what is compiled into a crate's program or library.

    python3 packaging/sbom.py CRATE NAME OUTPUT

Job: what cargo has resolved for Linux, with the crate's default features and without what only builds or tests it, as one file. The
same source and SOURCE_DATE_EPOCH give the same file. Knows: cargo. Must never know: packages.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path


def resolved(crate: str) -> list[str]:
    """Each crate with its version, as `name version`: the crate itself comes first."""
    command = ["cargo", "tree", "--locked", "--package", crate, "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    command += ["--target", f"{platform.machine()}-unknown-linux-gnu"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    # A line is `name vVERSION (where it is) (*)`.
    return list(dict.fromkeys(" ".join(line.split()[:2]).replace(" v", " ") for line in lines))


def bill(crate: str, name: str) -> dict[str, object]:
    """The whole file."""
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version", "1"], check=True, capture_output=True, text=True
        ).stdout
    )
    packages = {f"{package['name']} {package['version']}": package for package in metadata["packages"]}
    by_id = {package["id"]: key for key, package in packages.items()}
    sums = {
        f"{package['name']} {package['version']}": package.get("checksum")
        for package in tomllib.loads(Path("Cargo.lock").read_text())["package"]
    }
    keys = resolved(crate)
    needed = set(keys)

    def reference(key: str) -> str:
        return f"pkg:cargo/{packages[key]['name']}@{packages[key]['version']}"

    def component(key: str) -> dict[str, object]:
        package = packages[key]
        made: dict[str, object] = {
            "type": "library",
            "bom-ref": reference(key),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(key),
        }
        if package["license"]:
            # Cargo's old way to write OR is no SPDX expression.
            made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if sums.get(key):
            made["hashes"] = [{"alg": "SHA-256", "content": sums[key]}]
        if package["repository"]:
            made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return made

    def depends_on(node: dict[str, object]) -> list[str]:
        found = {
            by_id[dependency["pkg"]]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        }
        return sorted(reference(key) for key in found & needed)

    root = component(keys[0]) | {"type": "application" if name == "fanwire" else "library", "name": name}
    nodes = [node for node in metadata["resolve"]["nodes"] if by_id[node["id"]] in needed]
    made: dict[str, object] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": [component(key) for key in sorted(keys[1:])],
        "dependencies": sorted(
            ({"ref": reference(by_id[node["id"]]), "dependsOn": depends_on(node)} for node in nodes),
            key=lambda one: str(one["ref"]),
        ),
    }
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True))}"
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        time = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
        made["metadata"] = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": root}
    return made


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    Path(sys.argv[3]).write_text(json.dumps(bill(sys.argv[1], sys.argv[2]), indent=1) + "\n")
