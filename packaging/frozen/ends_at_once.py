"""A hook that runs before the others: from here on a request to end is obeyed without a traceback.

The other hooks load a good part of Python's library, and so does `signal` itself. Until that is
loaded, Ctrl-C ends the process as the system does.
"""

import _signal  # type: ignore[import-not-found] # It is built in, and has no types.

_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from orderbook_desktop.app.start import early_end  # noqa: E402

early_end().__enter__()
