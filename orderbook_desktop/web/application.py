"""The web application: routes, answers to errors, compression, and the gate in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library import NotOffered
from orderbook_desktop.core.version import __version__
from orderbook_desktop.system.bundle import resource_path
from orderbook_desktop.web.api import api_routes
from orderbook_desktop.web.errors import Closing, TooMany, Unreadable
from orderbook_desktop.web.heatmap import heatmap_routes
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.pages import page_routes
from orderbook_desktop.web.queries import NotAGrouping
from orderbook_desktop.web.safety.gate import Gate, RateCheck, RefusalPage, is_for_a_person
from orderbook_desktop.web.safety.hosts import HostCheck, ProxyCheck
from orderbook_desktop.web.safety.tokens import TokenCheck
from orderbook_desktop.web.templates import Templates

_DESCRIPTION: Final = (
    "The order book that Orderbook Desktop shows, for browsers and for programs. Read-only."
    " If a token is required, send it as `Authorization: Bearer …`, or as `token=…` in the query."
    " HEAD is answered like GET, without the body; the endless streams do not answer it."
)
_COMPRESS_FROM: Final = 1000
# On a slow computer stronger compression costs more time than the saved bytes would take.
_COMPRESS_LEVEL: Final = 4
_STATUS_OF: Final[dict[type[KnownError], HTTPStatus]] = {
    NotOffered: HTTPStatus.NOT_FOUND,
    NotAGrouping: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    Unreadable: HTTPStatus.SERVICE_UNAVAILABLE,
    Closing: HTTPStatus.SERVICE_UNAVAILABLE,
}

# These answers have no end, and an answer to HEAD would wait for it, so they refuse HEAD.
_STREAMS: Final = ("/events", "/stream")


def create_app(hub: Hub, options: WebOptions) -> ASGIApp:
    """Return the application that serves `hub`; `options` come from `WebOptions.guarded()`."""
    templates = Templates()
    limits = options.limits
    refusals = RefusalPage(templates)
    api = _routed(hub, templates, refusals)
    return Gate(
        _Heads(GZipMiddleware(api, minimum_size=_COMPRESS_FROM, compresslevel=_COMPRESS_LEVEL)),
        target_bytes=limits.target_bytes,
        head_bytes=limits.head_bytes,
        rates=RateCheck(limits.requests_per_s, limits.request_burst),
        hosts=HostCheck(options.host),
        proxies=ProxyCheck(options.proxy),
        token=TokenCheck(options.token, options.port) if options.token else None,
        refuse_page=refusals.response,
    )


def _routed(hub: Hub, templates: Templates, refusals: RefusalPage) -> FastAPI:
    api = FastAPI(
        title="Orderbook Desktop",
        description=_DESCRIPTION,
        version=__version__,
        # These pages load scripts from other sites; the schema itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
    )
    api.include_router(page_routes(hub, templates))
    api.include_router(api_routes(hub))
    api.include_router(heatmap_routes(hub))
    api.mount("/static", _Static(directory=resource_path("web/static")))

    @api.get("/icon.svg", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(resource_path("icons/orderbook-desktop.svg"))

    @api.exception_handler(KnownError)
    async def known(request: Request, error: Exception) -> Response:
        status = next(
            (code for kind, code in _STATUS_OF.items() if isinstance(error, kind)),
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
        return _answer(refusals, request, status, str(error))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        sentence = _validation_sentence(error) if isinstance(error, RequestValidationError) else ""
        return _answer(refusals, request, HTTPStatus.UNPROCESSABLE_ENTITY, sentence)

    @api.exception_handler(HTTPException)
    async def unserved(request: Request, error: HTTPException) -> Response:
        nothing = error.status_code == HTTPStatus.NOT_FOUND
        sentence = "There is nothing at this address." if nothing else f"{error.detail}."
        return _answer(refusals, request, error.status_code, sentence, error.headers)

    return api


class _Static(StaticFiles):
    """Files that a browser may cache, but has to revalidate before each use."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Return the file, to be revalidated by its ETag."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response


def _answer(
    refusals: RefusalPage,
    request: Request,
    status: int,
    sentence: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    if is_for_a_person(request.headers):
        response: Response = refusals.response(status, sentence)
    else:
        response = JSONResponse({"detail": sentence}, status)
    response.headers.update({**(headers or {}), "cache-control": "no-store"})
    return response


def _validation_sentence(error: RequestValidationError) -> str:
    """Return a sentence that says what is wrong; the value itself is left out."""
    first = error.errors()[0]
    return f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}."


class _Heads:
    """An ASGI application that lets `app` answer HEAD like GET, and drops the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] not in _STREAMS:
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def bare(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return bare
