"""The bill of materials, CycloneDX: exactly what is in the bundle."""

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
    components = [one for one in document["components"] if one["name"] in names]
    lost = names - {one["name"] for one in components}
    if lost:
        raise LookupError(f"the bill of materials lacks {', '.join(sorted(lost))}")
    components += [_python(), *(_system(package) for package in contents.system)]
    kept = {one["bom-ref"] for one in components}
    document["components"] = components
    document["dependencies"] = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in kept]}
        for one in document["dependencies"]
        if one["ref"] in kept
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
    """Return CycloneDX's own description of what is installed here."""
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
