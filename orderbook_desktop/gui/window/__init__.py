"""The main window, its bars, and the bridge that connects it to the desk."""
