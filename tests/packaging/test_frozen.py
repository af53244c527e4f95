"""The code that only a bundle runs, run as in a bundle."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import surroundings
from bundling.product import ROOT

FROZEN = ROOT / "packaging" / "frozen"


def test_children_get_their_own_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/bundle")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/theirs")
    monkeypatch.setenv("DYLD_LIBRARY_PATH", "/bundle")
    surroundings.give_children_their_own()
    assert os.environ["LD_LIBRARY_PATH"] == "/theirs"
    assert "LD_LIBRARY_PATH_ORIG" not in os.environ
    assert "DYLD_LIBRARY_PATH" not in os.environ


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    return tmp_path


def test_a_desktop_keeps_its_own_files(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    settings = bundle / "fonts.conf"
    settings.write_text("")
    monkeypatch.setattr(surroundings, "_FONT_SETTINGS", settings)
    surroundings.use_bundled_fallbacks()
    assert not any(str(bundle) in name for name in loaded)
    assert "FONTCONFIG_FILE" not in os.environ


def test_a_bare_machine_gets_the_bundle_s_files(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(name: str, mode: int = 0) -> None:
        if not name.startswith(str(bundle)):
            raise OSError
        loaded.append(Path(name).name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(surroundings, "_FONT_SETTINGS", bundle / "none")
    surroundings.use_bundled_fallbacks()
    # Each library comes after the libraries that it is linked with.
    assert loaded == ["libGLdispatch.so.0", "libGLX.so.0", "libGL.so.1", "libEGL.so.1"]
    assert os.environ["FONTCONFIG_FILE"] == str(bundle / "bare" / "fonts.conf")


@pytest.fixture
def nothing_found(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    """Give OpenSSL the default paths of another system."""
    nowhere = str(bundle / "nowhere")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    found = ssl.get_default_verify_paths()._replace(
        cafile="", capath="", openssl_cafile=nowhere, openssl_capath=nowhere
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: found)


@pytest.mark.usefixtures("nothing_found")
def test_the_systems_certificates_are_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = bundle / "ca-bundle.crt"
    theirs.write_text("")
    monkeypatch.setattr(surroundings, "_AUTHORITIES", (bundle / "none", theirs))
    surroundings.find_certificates()
    assert os.environ["SSL_CERT_FILE"] == str(theirs)


@pytest.mark.usefixtures("nothing_found")
def test_a_system_without_certificates_gets_the_bundle_s(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = bundle / "certifi" / "cacert.pem"
    ours.parent.mkdir()
    ours.write_text("")
    monkeypatch.setattr(surroundings, "_AUTHORITIES", (bundle / "none",))
    surroundings.find_certificates()
    assert os.environ["SSL_CERT_FILE"] == str(ours)


def test_configured_certificates_are_left_alone(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = bundle / "chosen.pem"
    chosen.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(chosen))
    surroundings.find_certificates()
    assert os.environ["SSL_CERT_FILE"] == str(chosen)


_WITHOUT_THE_OTHERS = """
import runpy, sys
sys._MEIPASS = sys.argv[1]
runpy.run_path(sys.argv[2])
from ccxt.async_support.binance import binance
from ccxt.base import errors
import ccxt
assert ccxt.NetworkError is errors.NetworkError
assert not hasattr(ccxt, "kraken")
print([name for name in sys.modules if name.startswith("ccxt.") and name.endswith("kraken")])
"""


def test_binance_alone_is_enough() -> None:
    found = importlib.util.find_spec("ccxt")
    assert found is not None
    assert found.origin is not None
    packages = str(Path(found.origin).parent.parent)
    command = [sys.executable, "-c", _WITHOUT_THE_OTHERS, packages, str(FROZEN / "only_binance.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


_WITHOUT_ARRAY_TYPES = """
import importlib, pkgutil, runpy, sys
runpy.run_path(sys.argv[1])
import orderbook_desktop
for module in pkgutil.walk_packages(orderbook_desktop.__path__, "orderbook_desktop."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from numpy.typing import NDArray
import numpy
assert NDArray[numpy.int64] | None
print("numpy._typing._array_like" in sys.modules)
"""


def test_the_program_needs_no_types_of_arrays() -> None:
    command = [sys.executable, "-c", _WITHOUT_ARRAY_TYPES, str(FROZEN / "no_array_types.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_the_guard_is_reached_through_the_database(tmp_path: Path) -> None:
    """The second executable is both guard and server."""
    marker = tmp_path / "marker"
    program = f"import pathlib; pathlib.Path({str(marker)!r}).write_text('ran')"
    mode = "exec" if sys.platform.startswith("linux") else "resident"
    command = [sys.executable, str(FROZEN / "database.py"), "guard", mode, str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*command, sys.executable, "-c", program],
        stdin=subprocess.PIPE if mode == "exec" else None,
        env=environment,
        check=True,
    )
    assert marker.read_text() == "ran"
