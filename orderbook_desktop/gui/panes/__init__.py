"""The panes of the window: each a layout, a painter and a widget."""
