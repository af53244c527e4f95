"""Make this `.venv` ready: pinned requirements, the project itself, Qt's system libraries.

    .venv/bin/python packaging/setup_venv.py run|dev

If the set-up is up to date, this does nothing. It uses only the standard library, since no other
package is installed yet.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
REQUIREMENTS = {
    "run": Path("packaging/requirements.txt"),
    "dev": Path("packaging/requirements-dev.txt"),
}

# The commands of an installed Chromium.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class SetupFailed(Exception):
    """The set-up cannot go on; `str()` is a sentence for the person who runs it."""


def main(arguments: list[str]) -> int:
    """Set up the requirements named in `arguments`, run or dev; return the exit status."""
    if arguments not in (["run"], ["dev"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        install_requirements(arguments[0])
        provide_libraries(arguments[0])
        provide_browser(arguments[0])
    except SetupFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def install_requirements(set_name: str) -> None:
    """Install this project and the pinned requirements of `set_name`, unless they are current."""
    # The set dev contains the set run.
    if any(_is_installed(name) for name in {set_name, "dev"}):
        return
    print(f"Setting up {VENV.name} (first start, or requirements changed) ...", file=sys.stderr)
    wheels_only = ["--only-binary", ":all:"]
    if (sys.platform, platform.machine()) == ("darwin", "x86_64"):
        # This package has no wheels for Intel Macs: pip builds it, which needs a Rust compiler.
        wheels_only += ["--no-binary", "cryptography"]
    # Dependencies, with their overrides, were resolved when the requirements were pinned.
    _pip("--require-hashes", "--no-deps", *wheels_only, "-r", str(REQUIREMENTS[set_name]))
    _pip("--no-deps", "--no-index", "--no-build-isolation", "-e", ".")
    _stamp(set_name).write_text(_key(set_name))


def provide_libraries(set_name: str) -> None:
    """Install missing system libraries; raises `SetupFailed` with their names where it may not."""
    if platform.system() != "Linux":
        return
    known = _system_libraries()
    # The set dev draws offscreen, in tests.
    needed = {**known.OFFSCREEN, **(known.X_WINDOW if set_name == "run" else {})}
    missing = known.missing_libraries(needed)
    if not missing:
        return
    packages = known.missing_packages(needed)
    problem = f"Qt needs system libraries that are missing here ({', '.join(missing)})"
    install_packages(packages, f"{problem}; {_advice(missing, packages)}")


def provide_browser(set_name: str) -> None:
    """Install Chromium for the tests of the browser view; without it they are skipped."""
    if set_name != "dev" or platform.system() != "Linux" or any(map(shutil.which, CHROMIUM)):
        return
    if _elevation() is not None and shutil.which("apt-get"):
        install_packages(["chromium"], "Chromium could not be installed.")


def install_packages(packages: list[str], problem: str) -> None:
    """Install the Debian `packages`; raise `SetupFailed(problem)` without the right to do so."""
    elevation = _elevation()
    if elevation is None or not shutil.which("apt-get"):
        raise SetupFailed(problem)
    print(f"Installing with apt: {' '.join(packages)}", file=sys.stderr)
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-qq"], install):
        _run([*elevation, *command], {"DEBIAN_FRONTEND": "noninteractive"})


def _elevation() -> list[str] | None:
    """Return the prefix of a command that changes the system; None: a person has to run it."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if os.environ.get("CI") and shutil.which("sudo") else None


def _system_libraries() -> ModuleType:
    """Import the program's module from this checkout, since the program is not installed yet."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module("orderbook_desktop.app.process.screen")


def _advice(missing: list[str], packages: list[str]) -> str:
    by_name = " ".join(f"'{name}()(64bit)'" for name in missing)
    for tool, operands in (
        ("apt-get", " ".join(packages)),
        ("dnf", by_name),
        ("zypper", by_name),
    ):
        if shutil.which(tool):
            return f"this installs them: sudo {tool} install {operands}"
    return f"install them; Debian's packages of them are {' '.join(packages)}"


def _key(set_name: str) -> str:
    """Return a digest of all inputs of the installation."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (
        REQUIREMENTS[set_name],
        Path("pyproject.toml"),
        Path("orderbook_desktop/core/version.py"),
        Path(__file__).resolve(),
    ):
        digest.update(path.read_bytes())
    # The editable install of a moved or copied checkout points to the old place.
    digest.update(os.fsencode(ROOT))
    return digest.hexdigest()


def _is_installed(set_name: str) -> bool:
    return _stamp(set_name).is_file() and _stamp(set_name).read_text() == _key(set_name)


def _stamp(set_name: str) -> Path:
    return VENV / f"installed-{set_name}"


def _pip(*arguments: str) -> None:
    # pip's version does not matter here, so its notice about a newer version would only confuse.
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", *arguments],
        {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"},
    )


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode != 0:
        raise SetupFailed(f"Set-up stopped: `{' '.join(command)}` failed, see above.")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
