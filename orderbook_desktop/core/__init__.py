"""The order book itself: pure functions and state machines without I/O, clock or window."""
