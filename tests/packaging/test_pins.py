"""The parts and tools of a release are pinned: actions, images, sources."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
_ZIZMOR = Path(sys.executable).with_name("zizmor")
_PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")


def _audit(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_ZIZMOR, "--offline", "--no-progress", "--no-config", folder],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_zizmor_finds_no_fault_in_the_workflows() -> None:
    done = _audit(WORKFLOWS)
    assert done.returncode == 0, done.stdout
    # No comment in a workflow excuses a finding.
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS.iterdir())
    assert "zizmor:" not in text


@pytest.mark.parametrize(
    ("pattern", "instead", "finding"),
    [
        (r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", "unpinned-uses"),
        (r"persist-credentials: false", "fetch-depth: 1", "artipacked"),
        (r'(python-version: "3.1[12]")', r"\1\n          cache: pip", "cache-poisoning"),
    ],
)
def test_zizmor_would_find_each_kind_of_fault(
    tmp_path: Path, pattern: str, instead: str, finding: str
) -> None:
    folder = tmp_path / ".github" / "workflows"
    shutil.copytree(WORKFLOWS, folder)
    for path in folder.iterdir():
        path.write_text(re.sub(pattern, instead, path.read_text(encoding="utf-8")), "utf-8")
    done = _audit(folder)
    assert done.returncode != 0
    assert f"[{finding}]" in done.stdout


def test_make_check_asks_zizmor() -> None:
    assert "\ncheck zizmor --offline" in (ROOT / "packaging" / "check.sh").read_text("utf-8")


def _images() -> Iterator[str]:
    """Iterate over all images that are pulled; our own images are built."""
    text = (ROOT / "packaging" / "Containerfile").read_text(encoding="utf-8")
    yield from re.findall(r"^FROM (?:--\S+ )?(\S+)", text, re.MULTILINE)
    yield from re.findall(r"^# syntax=(\S+)", text, re.MULTILINE)
    compose = YAML(typ="safe").load(ROOT / "docker-compose.mongo.yml")
    for service in compose["services"].values():
        if "build" not in service:
            yield service["image"]
    for path in WORKFLOWS.iterdir():
        for job in YAML(typ="safe").load(path)["jobs"].values():
            yield from _images_of(job)


def _images_of(job: dict[str, Any]) -> Iterator[str]:
    for described in (job.get("container"), *job.get("services", {}).values()):
        if described is not None:
            yield described if isinstance(described, str) else described["image"]
    for step in job["steps"]:
        used, given = step.get("uses", ""), step.get("with", {})
        # By default these two actions run an image of their own choice.
        if used.startswith("docker/setup-qemu-action@"):
            yield given.get("image", used)
        if used.startswith("docker/setup-buildx-action@"):
            yield given.get("driver-opts", used).removeprefix("image=")


def test_images_are_pinned_by_digest() -> None:
    images = list(_images())
    assert len(images) >= 5
    assert [image for image in images if not _PINNED.fullmatch(image)] == []


def test_each_image_has_one_version() -> None:
    names = {image.partition(":")[0]: image for image in _images()}
    assert set(names.values()) == set(_images())


def test_no_cache_of_others_reaches_a_published_image() -> None:
    """Docker's actions use caches by default, which zizmor does not find."""
    for name in ("image.yml", "release.yml"):
        text = (WORKFLOWS / name).read_text(encoding="utf-8")
        assert "type=gha" not in text
        assert len(re.findall("docker/setup-qemu-action", text)) == text.count("cache-image: false")
        assert len(re.findall("docker/setup-buildx", text)) == text.count("cache-binary: false")


def test_each_platform_is_tried_before_it_is_pushed() -> None:
    steps = YAML(typ="safe").load(WORKFLOWS / "image.yml")["jobs"]["image"]["steps"]
    [pushing] = [step for step in steps if step.get("with", {}).get("push")]
    before = steps[: steps.index(pushing)]
    tried = [step["run"] for step in before if "try_image.sh" in step.get("run", "")]
    platforms = pushing["with"]["platforms"].split(",")
    assert "linux/arm64" in platforms
    for platform in platforms:
        [built] = [step for step in before if step.get("with", {}).get("platforms") == platform]
        assert built["with"]["load"] is True
        assert f"sh packaging/try_image.sh {built['with']['tags']} {platform}" in tried
        assert built["with"]["file"] == pushing["with"]["file"]


def test_all_files_that_pip_fetches_for_a_release_are_hashed() -> None:
    hashed = set()
    for path in [*WORKFLOWS.iterdir(), *(ROOT / "packaging").rglob("*")]:
        if path.suffix not in {".yml", ".sh", ".py", ""} or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^.*\bpip (?:install|download)\b.*$", text, re.MULTILINE):
            is_ours = "--no-deps --no-build-isolation ." in line
            assert is_ours or "--require-hashes" in line, f"{path.name}: {line}"
            hashed.add(path.name)
    assert hashed
