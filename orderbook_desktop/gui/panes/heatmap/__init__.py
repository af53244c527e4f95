"""The heatmap: how much stood at which price and when, from now back into all that is recorded."""
