"""The window: models, painters and widgets, fed by the Protocols of core."""
