"""What windows show and command: the desk, its recordings, its notices, its library."""
