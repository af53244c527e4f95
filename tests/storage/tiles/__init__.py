"""Tests of the heatmap's tiles."""
