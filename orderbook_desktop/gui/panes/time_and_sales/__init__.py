"""The time-and-sales pane."""
