"""What the bundle's first executable runs: the program, as from the command line."""

import gc
import sys
import warnings

from orderbook_desktop.app.start import main


def prepare() -> None:
    """Put right what is different in a bundle."""
    # Those of Python and its packages are for developers, and would go to a person's terminal.
    warnings.simplefilter("ignore")
    # The start makes ten thousands of objects that stay. To search them for garbage after every
    # 700 new ones, as is Python's way, takes a tenth of it.
    gc.set_threshold(20_000, 20, 20)
    import surroundings  # noqa: PLC0415 (only now: a request to end is heeded from here on)

    surroundings.give_children_their_own()
    surroundings.know_whom_to_trust()
    if sys.platform.startswith("linux"):
        surroundings.make_up_for_a_bare_machine()


main(prepare)
