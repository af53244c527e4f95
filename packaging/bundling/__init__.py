"""The parts of `packaging/bundle.py`, which are not parts of the program."""
