"""The checks that every request has to pass before the application sees it."""
