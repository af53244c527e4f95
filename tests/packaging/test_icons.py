from __future__ import annotations

import struct
from pathlib import Path

import pytest
from bundling.icons import LINUX_SIZES, icns, ico, write_icons
from bundling.product import ROOT
from PySide6.QtGui import QImage

SVG = ROOT / "resources" / "icons" / "orderbook-desktop.svg"


def image(data: bytes) -> QImage:
    return QImage.fromData(data)


def test_draws_every_size(tmp_path: Path) -> None:
    write_icons(SVG, tmp_path)
    for size in LINUX_SIZES:
        drawn = QImage(str(tmp_path / f"icon-{size}.png"))
        assert (drawn.width(), drawn.height()) == (size, size)
        assert drawn.pixelColor(0, 0).alpha() == 0
        assert drawn.pixelColor(size // 2, size // 2).alpha() == 255


def test_windows_icon_points_at_its_pictures(tmp_path: Path) -> None:
    write_icons(SVG, tmp_path)
    data = (tmp_path / "icon.ico").read_bytes()
    _, kind, count = struct.unpack_from("<HHH", data)
    assert kind == 1
    edges = []
    for row in range(count):
        edge, _, _, _, _, bits, length, offset = struct.unpack_from("<BBBBHHII", data, 6 + 16 * row)
        assert bits == 32
        assert image(data[offset : offset + length]).width() == (edge or 256)
        edges.append(edge or 256)
    assert edges == sorted(edges)
    assert edges[-1] == 256


def test_mac_icon_is_a_chain_of_pictures(tmp_path: Path) -> None:
    write_icons(SVG, tmp_path)
    data = (tmp_path / "icon.icns").read_bytes()
    assert data[:4] == b"icns"
    assert struct.unpack_from(">I", data, 4)[0] == len(data)
    at, widths = 8, []
    while at < len(data):
        length = struct.unpack_from(">I", data, at + 4)[0]
        widths.append(image(data[at + 8 : at + length]).width())
        at += length
    assert at == len(data)
    assert max(widths) == 1024


def test_formats_hold_what_they_are_given() -> None:
    assert ico({256: b"PNG"}).endswith(b"PNG")
    assert icns([(b"ic07", b"PNG")]) == b"icns\0\0\0\x13ic07\0\0\0\x0bPNG"


@pytest.mark.qt_log_ignore("Cannot read file")
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.svg").write_text("<html/>")
    with pytest.raises(ValueError, match="not a picture"):
        write_icons(tmp_path / "no.svg", tmp_path)
