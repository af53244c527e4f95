"""Exports recordings to files that the tools of the field read."""
