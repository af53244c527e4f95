"""The exchange and the settings, shared with the tests of the app."""

from tests.app.conftest import exchange, settings, stranded

__all__ = ["exchange", "settings", "stranded"]
