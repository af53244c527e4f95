"""The archive's writing side: closed minutes rolled into chunks."""
