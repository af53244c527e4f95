"""What `packaging/bundle.py` is made of; none of it is part of the program."""
