"""The exchange: REST, depth streams, and a local exchange with the same interface."""
