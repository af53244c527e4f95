"""Proving a recording from its stored bytes."""
