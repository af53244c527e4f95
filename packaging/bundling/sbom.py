"""The bill of materials of the bundle, in CycloneDX's format."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bundling.contents import Contents
from bundling.product import NAME, SUMMARY, version


def write_sbom(contents: Contents, path: Path) -> None:
    """Write the bill of materials of `contents` to `path`."""
    document = json.loads(_environment())
    names = {distribution.name for distribution in contents.distributions}
    components = [entry for entry in document["components"] if entry["name"] in names]
    lost = names - {component["name"] for component in components}
    if lost:
        raise LookupError(f"the bill of materials lacks {', '.join(sorted(lost))}")
    components += [_python(), *(_system(package) for package in contents.system)]
    refs = {component["bom-ref"] for component in components}
    document["components"] = components
    document["dependencies"] = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", ()) if ref in refs]}
        for entry in document["dependencies"]
        if entry["ref"] in refs
    ]
    document["metadata"]["component"] = {
        "type": "application",
        "bom-ref": NAME,
        "name": NAME,
        "version": version(),
        "description": SUMMARY,
        "licenses": [{"license": {"id": "MIT"}}],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _environment() -> str:
    """Return CycloneDX's description of the packages in this environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    done = subprocess.run(
        [*command, "--output-format", "JSON", sys.executable],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _python() -> dict[str, Any]:
    return {
        "type": "platform",
        "bom-ref": "python",
        "name": "CPython",
        "version": platform.python_version(),
        "licenses": [{"license": {"id": "Python-2.0.1"}}],
    }


def _system(package: Any) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"system:{package.name}",
        "name": package.name,
        "version": package.version or "as on the build machine",
        "properties": [{"name": "file", "value": file} for file in package.files],
    }
