"""What the REST side serves."""

from __future__ import annotations

from typing import Final

REST_PREFIX: Final = "/api/v3/"
REST_PATHS: Final = ("ping", "time", "exchangeInfo", "depth", "ticker/24hr")
