"""The stream of HTML: the whole visible book at each moment, for htmx."""

from __future__ import annotations

from orderbook_desktop.web.book_view import view_of
from orderbook_desktop.web.changes_stream import moment_id
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.frames import Frame, event_frame
from orderbook_desktop.web.templates import Templates


class FragmentsForm:
    """Makes the frames of `/events`, grouped by `step` (units of 10^-8); is a `StreamForm`.

    One rendering serves everybody who watches the symbol with the same grouping.
    """

    def __init__(self, templates: Templates, step: int) -> None:
        self._templates = templates
        self._step = step

    def frame(self, channel: Channel, seen: int | None) -> Frame:
        """Return the visible book, whatever was seen before."""
        del seen
        return channel.shared(("fragment", self._step), lambda: self._render(channel))

    def beat(self, channel: Channel) -> Frame:
        """Return the visible book with its age as of now."""
        return self.frame(channel, None)

    def _render(self, channel: Channel) -> Frame:
        view = view_of(channel.info, channel.moment, channel.badge(), self._step)
        # In one line, as each one would be sent with a prefix.
        html = "".join(self._templates.fragment(view).splitlines())
        return event_frame(html, moment_id(channel))
