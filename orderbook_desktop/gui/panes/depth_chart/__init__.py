"""The depth chart."""
