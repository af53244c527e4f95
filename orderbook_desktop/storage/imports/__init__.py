"""Imports files that other programs collected."""
