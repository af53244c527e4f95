"""The heatmap's bins: how much stood at which price and when, in exact whole numbers."""
