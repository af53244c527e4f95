"""Recordings written to files that the tools of the field read."""
