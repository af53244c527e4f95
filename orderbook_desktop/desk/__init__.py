"""What windows show and command: the program that they share, and the desk of each."""
