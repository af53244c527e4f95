"""The main script of the bundle's first executable, which runs the program's command line."""

import gc
import sys
import warnings

from orderbook_desktop.app.start import main


def prepare() -> None:
    """Adapt the process to the differences between a bundle and an installation."""
    # Warnings of Python and its packages are for developers, and would appear in the terminal.
    warnings.simplefilter("ignore")
    # The start makes tens of thousands of objects that stay. By default Python searches for
    # garbage after every 700 new objects, which takes a tenth of the time of the start.
    gc.set_threshold(20_000, 20, 20)
    import surroundings  # noqa: PLC0415 (here a request to end already ends the process)

    surroundings.give_children_their_own()
    surroundings.find_certificates()
    if sys.platform.startswith("linux"):
        surroundings.use_bundled_fallbacks()


main(prepare)
