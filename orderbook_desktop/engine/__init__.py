"""The drivers of feeds, market sessions and recordings, and the watch over the disk."""
