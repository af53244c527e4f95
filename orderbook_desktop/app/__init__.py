"""The composition root: settings, commands, and everything built and stopped in order."""
