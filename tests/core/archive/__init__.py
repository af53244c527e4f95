"""Tests of the archive's codec."""
