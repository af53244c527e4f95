"""The icon in the formats of all systems, drawn from the project's SVG."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, Qt
from PySide6.QtGui import QImage, QImageWriter, QPainter
from PySide6.QtSvg import QSvgRenderer

# Edges in pixels of Linux desktops' icons (freedesktop's "Icon Theme Specification", hicolor).
LINUX_SIZES: Final = (16, 24, 32, 48, 64, 128, 256, 512)
_WINDOWS_SIZES: Final = (16, 20, 24, 32, 40, 48, 64, 128, 256)
# macOS's names for kinds of pictures in the PNG format, with their edges in pixels.
_MAC_KINDS: Final = {
    b"icp4": 16, b"icp5": 32, b"ic07": 128, b"ic08": 256, b"ic09": 512, b"ic10": 1024,
    b"ic11": 32, b"ic12": 64, b"ic13": 256, b"ic14": 512,
}  # fmt: skip


def write_icons(svg: Path, folder: Path) -> None:
    """Write `icon.ico`, `icon.icns` and, in Linux's sizes, `icon-SIZE.png` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    renderer = QSvgRenderer(str(svg))
    if not renderer.isValid():
        raise ValueError(f"{svg} is not a picture that can be drawn")
    sizes = {*LINUX_SIZES, *_WINDOWS_SIZES, *_MAC_KINDS.values()}
    pngs = {size: _png(renderer, size) for size in sizes}
    for size in LINUX_SIZES:
        (folder / f"icon-{size}.png").write_bytes(pngs[size])
    (folder / "icon.ico").write_bytes(ico({size: pngs[size] for size in _WINDOWS_SIZES}))
    (folder / "icon.icns").write_bytes(icns([(kind, pngs[s]) for kind, s in _MAC_KINDS.items()]))


def ico(pngs: dict[int, bytes]) -> bytes:
    """Return a Windows icon of the PNGs in `pngs`, by edge in pixels (256 at most)."""
    head = struct.pack("<HHH", 0, 1, len(pngs))
    offset = len(head) + 16 * len(pngs)
    rows = []
    for size, png in pngs.items():
        edge = size % 256  # 0 means 256.
        rows.append(struct.pack("<BBBBHHII", edge, edge, 0, 0, 1, 32, len(png), offset))
        offset += len(png)
    return b"".join([head, *rows, *pngs.values()])


def icns(pictures: list[tuple[bytes, bytes]]) -> bytes:
    """Return a macOS icon of (kind, PNG) pairs."""
    body = b"".join(kind + struct.pack(">I", 8 + len(png)) + png for kind, png in pictures)
    return b"icns" + struct.pack(">I", 8 + len(body)) + body


def _png(renderer: QSvgRenderer, size: int) -> bytes:
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if not QImageWriter(buffer, QByteArray(b"png")).write(image):
        raise ValueError(f"no PNG of {size} pixels could be written")
    return bytes(data.data())
