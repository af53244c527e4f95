"""What stands behind windows: the program that they share, and the desk of each window."""
