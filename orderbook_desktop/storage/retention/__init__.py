"""Retention: the sizes of a recording, and the removal of its oldest chunks."""
