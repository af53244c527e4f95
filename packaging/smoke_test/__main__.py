"""Try every part of a bundle, in an environment without Python and without this checkout.

    sh packaging/with.sh dev python packaging/smoke_test [BUNDLE]

BUNDLE is `dist/orderbook-desktop`, or on macOS `dist/Orderbook Desktop.app`. On Linux the
window opens under Xvfb. On other systems, and with QT_QPA_PLATFORM=offscreen, it opens without a
screen. The test leaves screenshots, and after a failure the log, in `build/smoke`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from checks import Failed, Trial
from display import Screen, screen
from installation import install
from setup_venv import SetupFailed

ROOT = Path(__file__).resolve().parent.parent.parent
EVIDENCE = ROOT / "build" / "smoke"


def main(arguments: list[str]) -> int:
    """Run every check on the bundle named on the command line; return the exit status."""
    mac = ROOT / "dist" / "Orderbook Desktop.app"
    usual = mac if sys.platform == "darwin" else ROOT / "dist" / "orderbook-desktop"
    bundle = Path(arguments[0]) if arguments else usual
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    EVIDENCE.mkdir(parents=True)
    # The path is resolved, since macOS's temporary folder is a link.
    with tempfile.TemporaryDirectory(prefix="smoke ") as folder:
        home = Path(folder).resolve() / "Größe Ωmega 日本"
        try:
            with screen(home) as shown, install(bundle, home) as installed:
                run(Trial(installed, home), shown)
        except (Failed, SetupFailed) as failure:
            logs = home / "data" / "logs"
            if logs.is_dir():
                shutil.copytree(logs, EVIDENCE / "logs")
            print(f"smoke test failed: {failure}", file=sys.stderr)
            return 1
    print("smoke test passed", file=sys.stderr)
    return 0


def run(trial: Trial, shown: Screen | None) -> None:
    """Check all parts of the program; raises `Failed`."""
    trial.says_its_version()
    with trial.exchange():
        trial.opens_a_window(shown, EVIDENCE)
        trial.records()
        trial.serves()
        trial.doctor_finds_no_failure()
        trial.proves_its_recordings()
        trial.exports_and_imports()
    trial.shows_the_demo(shown, EVIDENCE)
    trial.leaves_nothing_running()
    trial.wrote_only_into_its_folder()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
