"""The drivers: feeds, market sessions, recordings, and the watch over the disk."""
