"""The heatmap's tiles: a cache beside the recording, which may be deleted at any time."""
