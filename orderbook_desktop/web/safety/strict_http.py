"""HTTP/1.1 read strictly: a proxy before us and we must not disagree on where a request ends.

Where they disagree, a stranger can hide a second request in the first one ("request smuggling",
RFC 9112, section 11.2). The browser view takes no bodies, so a connection carries heads only:
each is read as one piece here before h11 sees it, and nothing is read after a head that
announces a body.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

import h11

_END: Final = b"\r\n\r\n"
# A line feed or a carriage return alone, and the continued lines of RFC 2616.
_ODD_LINE: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_FIRST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]")
_VERSION: Final = re.compile(rb"[^ ]+ [^ ]+ HTTP/[0-9]+(\.[0-9]+)?")
_TOKEN_BYTES: Final = (
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
# Their targets are a host, and `*`.
_WITHOUT_PATH: Final = (b"CONNECT", b"OPTIONS")
# Each of these must not come twice: which of the two counts, programs see differently.
_ONLY_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")


class StrictConnection(h11.Connection):
    """h11's server side, which is given one whole head at a time, and only after it was checked.

    What is wrong is raised by `next_event` as h11 does, with the status to answer with, and
    kept as `refusal`. `has_unread` is whether the last request announced a body: then the
    answer says that the connection closes, and what still arrives is dropped.
    """

    def __init__(self, head_bytes: int) -> None:
        super().__init__(h11.SERVER, head_bytes)
        self.refusal: h11.RemoteProtocolError | None = None
        self.has_unread = False
        self._head_bytes = head_bytes
        self._waiting = bytearray()
        self._searched = 0
        self._is_last = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the wire, unless nothing of this client is read any more."""
        if not data:
            super().receive_data(data)
        elif not self._is_last:
            self._waiting += data

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, as h11; raises `h11.RemoteProtocolError`."""
        try:
            event = self._next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = error
            self.read_no_more()
            raise
        if isinstance(event, h11.Request):
            fields = dict(event.headers)
            self.has_unread = (
                b"transfer-encoding" in fields or int(fields.get(b"content-length", b"0")) > 0
            )
        # HTTP/1.0 and `Connection: close`: h11 would take what follows for a fault of this one.
        if self.has_unread or self.their_state is h11.MUST_CLOSE:
            self.read_no_more()
        return event

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override] # Of all kinds.
        """Return the bytes for `event`, as h11."""
        if isinstance(event, h11.Response) and self.has_unread:
            headers = [*event.headers, (b"connection", b"close")]
            event = h11.Response(
                status_code=event.status_code, headers=headers, reason=event.reason
            )
        return super().send(event)

    def read_no_more(self) -> None:
        """Drop what was received and not looked at yet, and all that will be."""
        self._is_last = True
        self._waiting.clear()

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self.their_state is h11.IDLE and not self._is_last:
            head = self._whole_head()
            if head is None:
                return h11.NEED_DATA
            super().receive_data(head)
        elif self.their_state is h11.DONE and self._waiting:
            return h11.PAUSED
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            # h11's own text quotes the request.
            raise _refused("The request's head cannot be read.", error.error_status_hint) from error

    def _whole_head(self) -> bytes | None:
        """Take the next head off what was received; None while there is no whole one."""
        if not self._waiting:
            return None
        if self._waiting[0] not in _TOKEN_BYTES:
            raise _refused("This is no HTTP request.")
        end = self._waiting.find(_END, max(0, self._searched - len(_END)))
        size = len(self._waiting) if end < 0 else end + len(_END)
        if _ODD_LINE.search(self._waiting, max(0, self._searched - 2), size):
            raise _refused("A line of the request's head does not end in CR and LF, or is folded.")
        if size > self._head_bytes:
            raise _refused("The request's head is too long.", 431)
        if end < 0:
            self._searched = size
            return None
        head = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._searched = 0
        return _checked(head)


def _refused(sentence: str, status: int = 400) -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(sentence, error_status_hint=status)


def _checked(head: bytes) -> bytes:
    """Return `head` as h11 takes it; raises `h11.RemoteProtocolError`."""
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    if not _FIRST_LINE.fullmatch(first):
        if _VERSION.fullmatch(first):
            raise _refused("Only HTTP/1.1 and HTTP/1.0 are spoken here.", 505)
        raise _refused("The request line cannot be read.")
    names = [line.partition(b":")[0].lower() for line in lines]
    for name in _ONLY_ONCE:
        if names.count(name) > 1:
            raise _refused(f"The header {name.decode()} comes twice.")
    values = dict(
        zip(names, (line.partition(b":")[2].strip(b" \t") for line in lines), strict=True)
    )
    _check_framing(values, first)
    method, target, version = first.split(b" ")
    if target[:1] != b"/" and method not in _WITHOUT_PATH:
        target, host = _origin_form(target)
        lines = [line for line in lines if not line.lower().startswith(b"host:")]
        lines.insert(0, b"Host: " + host)
    # Clients such as curl send a name beyond ASCII as it was typed.
    target = quote(target, safe=bytes(range(0x21, 0x7F))).encode()
    return b"\r\n".join((b" ".join((method, target, version)), *lines)) + _END


def _check_framing(values: dict[bytes, bytes], first: bytes) -> None:
    """Refuse what says in two ways, or in none that is understood, how long a body is."""
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is not None and not (length.isdigit() and len(length) <= 18):
        raise _refused("The header content-length is no number.")
    if coding is None:
        return
    if length is not None:
        raise _refused("A request has a content-length or a transfer-encoding, not both.")
    if first.endswith(b"HTTP/1.0"):
        raise _refused("HTTP/1.0 knows no transfer-encoding.")
    if coding.lower() != b"chunked":
        raise _refused("This transfer-encoding is not understood.", 501)


def _origin_form(target: bytes) -> tuple[bytes, bytes]:
    """Return path and host of an absolute address, which counts more than the Host header."""
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise _refused("The address cannot be read.") from error
    if parts.scheme.lower() not in (b"http", b"https") or not parts.netloc or b"@" in parts.netloc:
        raise _refused("The address cannot be read.")
    path = parts.path or b"/"
    return (path + b"?" + parts.query if parts.query else path), parts.netloc
