"""Who may ask for what: the checks that every request passes before anything is done for it."""
