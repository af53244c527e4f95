"""Retention: removes the oldest part of a recording."""
