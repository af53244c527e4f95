"""Writes the archive: packs closed minutes into chunks."""
