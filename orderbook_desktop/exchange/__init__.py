"""The exchange: REST, depth streams, and a local exchange that speaks the same language."""
