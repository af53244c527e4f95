"""The browser view: the same book for remote browsers."""
