"""The version of the program, written here only."""

__version__ = "0.1.0"
