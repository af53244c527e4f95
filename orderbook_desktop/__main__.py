"""`python -m orderbook_desktop` is the command `orderbook-desktop`."""

from orderbook_desktop.app.start import main

if __name__ == "__main__":
    main()
