"""The composition root: settings, commands, and the building and stopping of all parts in order."""
