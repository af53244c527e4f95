"""The depth ladder."""
