"""The browser view: a server that shows the window's book to browsers and programs."""
