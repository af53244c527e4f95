"""The database server: chooses, starts, locks, watches and stops it."""
