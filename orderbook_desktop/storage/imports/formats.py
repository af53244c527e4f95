"""The formats that can be imported."""

from __future__ import annotations

from enum import Enum


class ImportFormat(Enum):
    """A format; the values are what a person types."""

    RAW = "raw"
    TARDIS = "tardis"
