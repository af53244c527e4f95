"""Proves a recording from its stored bytes."""
