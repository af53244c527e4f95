"""The database's server: which one, started, locked, watched and stopped."""
