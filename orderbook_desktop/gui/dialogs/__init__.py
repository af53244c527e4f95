"""The dialogs and panels of the main window."""
