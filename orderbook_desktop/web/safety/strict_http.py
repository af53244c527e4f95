"""Strict parsing of HTTP/1.1, so that a proxy and this server agree where a request ends.

If they disagree, a client can hide a second request in the first one ("request smuggling", RFC
9112, section 11.2). The browser view takes no bodies, so a connection carries heads only. Each
head is checked as a whole before h11 gets it, and nothing is read after a head that announces
a body.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

import h11

_END: Final = b"\r\n\r\n"
# A single line feed or carriage return, and the continued lines of RFC 2616.
_ODD_LINE: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_FIRST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]")
_VERSION: Final = re.compile(rb"[^ ]+ [^ ]+ HTTP/[0-9]+(\.[0-9]+)?")
_TOKEN_BYTES: Final = (
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
# The target of CONNECT is a host, that of OPTIONS may be `*`.
_WITHOUT_PATH: Final = (b"CONNECT", b"OPTIONS")
# None of these may come twice, since programs differ in which of the two they use.
_ONLY_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")


class StrictConnection(h11.Connection):
    """h11's server side, which gets one whole head at a time, after a check.

    `next_event` raises h11's exception for a bad head, with the status to answer with, and keeps
    it as `refusal`. `has_unread` is whether the last request announced a body. The answer then
    says that the connection closes, and bytes that still arrive are dropped.
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
        """Take bytes of the client; they are dropped after `read_no_more()`."""
        if not data:
            super().receive_data(data)
        elif not self._is_last:
            self._waiting += data

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, like h11; raises `h11.RemoteProtocolError`."""
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
        # After HTTP/1.0 or `Connection: close`, h11 would take further bytes for a fault.
        if self.has_unread or self.their_state is h11.MUST_CLOSE:
            self.read_no_more()
        return event

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override] # One type for all.
        """Return the bytes for `event`, like h11."""
        if isinstance(event, h11.Response) and self.has_unread:
            headers = [*event.headers, (b"connection", b"close")]
            event = h11.Response(
                status_code=event.status_code, headers=headers, reason=event.reason
            )
        return super().send(event)

    def read_no_more(self) -> None:
        """Drop all bytes that were received but not parsed, and all later bytes."""
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
            # h11's own text is not sent, since it quotes the request.
            raise _refused("The request's head cannot be read.", error.error_status_hint) from error

    def _whole_head(self) -> bytes | None:
        """Remove the next head from the received bytes and return it; None: it is incomplete."""
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
    """Return `head` in the form that h11 accepts; raises `h11.RemoteProtocolError`."""
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    if not _FIRST_LINE.fullmatch(first):
        if _VERSION.fullmatch(first):
            raise _refused("This server speaks only HTTP/1.1 and HTTP/1.0.", 505)
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
    # Clients such as curl send characters outside ASCII as they were typed.
    target = quote(target, safe=bytes(range(0x21, 0x7F))).encode()
    return b"\r\n".join((b" ".join((method, target, version)), *lines)) + _END


def _check_framing(values: dict[bytes, bytes], first: bytes) -> None:
    """Refuse a head that gives the length of a body in two ways, or in an unknown way."""
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is not None and not (length.isdigit() and len(length) <= 18):
        raise _refused("The header content-length is no number.")
    if coding is None:
        return
    if length is not None:
        raise _refused("A request has a content-length or a transfer-encoding, not both.")
    if first.endswith(b"HTTP/1.0"):
        raise _refused("HTTP/1.0 has no transfer-encoding.")
    if coding.lower() != b"chunked":
        raise _refused("This transfer-encoding is not understood.", 501)


def _origin_form(target: bytes) -> tuple[bytes, bytes]:
    """Return path and host of an absolute address; its host replaces the Host header."""
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise _refused("The address cannot be read.") from error
    if parts.scheme.lower() not in (b"http", b"https") or not parts.netloc or b"@" in parts.netloc:
        raise _refused("The address cannot be read.")
    path = parts.path or b"/"
    return (path + b"?" + parts.query if parts.query else path), parts.netloc
