"""Holds bills of materials against CycloneDX's schema, and against Cargo.lock.

    python valid.py FILE…
"""

import json
import sys
import tomllib
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

locked = {
    (package["name"], package["version"]): package.get("checksum")
    for package in tomllib.loads(Path("Cargo.lock").read_text())["package"]
}
for file in sys.argv[1:]:
    text = Path(file).read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
        sys.exit(f"{file}: {error}")
    bill = json.loads(text)
    components = [bill["metadata"]["component"], *bill["components"]]
    references = [component["bom-ref"] for component in components]
    assert len(set(references)) == len(references) > 50, file
    assert {one["ref"] for one in bill["dependencies"]} == set(references), file
    assert all(other in references for one in bill["dependencies"] for other in one["dependsOn"]), file
    for component in components[1:]:
        checksum = locked[component["name"], component["version"]]
        assert component["licenses"], (file, component)
        assert [made["content"] for made in component.get("hashes", [])] == ([checksum] if checksum else []), (file, component)
    # Everything is there for something.
    needed = {other for one in bill["dependencies"] for other in one["dependsOn"]}
    assert needed | {references[0]} == set(references), (file, set(references) - needed)
