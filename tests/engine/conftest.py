"""The exchange and the settings that the tests of the app have."""

from tests.app.conftest import exchange, settings, stranded

__all__ = ["exchange", "settings", "stranded"]
