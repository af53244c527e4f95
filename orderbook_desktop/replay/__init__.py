"""Recorded history as a source with a clock of its own."""
