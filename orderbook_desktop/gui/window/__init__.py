"""The main window, its bars, and what connects it to the desk."""
