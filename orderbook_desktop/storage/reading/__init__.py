"""Reads a recording: its archive and its raw events together."""
