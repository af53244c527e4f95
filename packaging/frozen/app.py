"""What the bundle's first executable runs: the program, as from the command line."""

import gc
import sys
import warnings

import surroundings

# Those of Python and its packages are for developers, and would go to a person's terminal.
warnings.simplefilter("ignore")

# The start makes ten thousands of objects that stay. To search them for garbage after every 700
# new ones, as is Python's way, takes a tenth of it.
gc.set_threshold(20_000, 20, 20)

surroundings.give_children_their_own()
surroundings.know_whom_to_trust()
if sys.platform.startswith("linux"):
    surroundings.make_up_for_a_bare_machine()

from orderbook_desktop.app.cli import main  # noqa: E402 (only then)

main()
