"""The web preview: one page that shows the picture and switches the look; nothing is encoded when nobody watches.

It answers on loopback unless told otherwise, and then to a token alone. It knows a handful of addresses and looks no
file up by name, so none of the machine's can be read through it.
"""

import asyncio
import hmac
import json
import re
import secrets
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stream.control import MAX_REQUEST, Controls
from stream.endpoint import is_loopback
from stream.errors import OutputError, UsageError
from stream.exposition import expose
from stream.jpeg import encode_picture
from stream.newest import Shown

LONGEST: Final = 1280
"""Pixels of the longer side that the page is sent; the snapshot has all of them."""
MAX_WATCHERS: Final = 16
MAX_MISTAKES: Final = 50
"""Bad messages that a connection may send before it is closed."""
MAX_CONNECTIONS: Final = 256
"""So that nobody uses up the files that this process may open."""
HURRY_S: Final = 10.0
"""So long a connection may take over saying what it wants."""
MAX_UNREAD: Final = 8 << 20
"""Bytes that may wait for a page that reads nothing: four times what pictures come to."""
AHEAD: Final = 2
"""Pictures under way to a page that has not said that it has drawn them: more would be lag."""
_STATE_S: Final = 0.5
_EVERYWHERE: Final = ("0.0.0.0", "::")
_COOKIE: Final = "kinochrome"
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/embed": ("embed.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/picture.js": ("picture.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(eq=False, kw_only=True)
class _Watcher:
    """A page that is open."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    wants_before: bool = False
    under_way: int = 0
    sent: int = -1


class Preview:
    """A sink that is a web server. `address` says where."""

    def __init__(self, controls: Controls, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> None:
        """token: what a browser must show; made up where the address needs one and none is given."""
        self._controls = controls
        self._host = host
        if token and not _TOKEN.fullmatch(token):
            raise UsageError(
                "--token: up to 128 letters, digits and - . _ ~ are allowed; others mean something in a URL"
            )
        self.token = token or (None if is_loopback(host) else secrets.token_urlsafe(16))
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._watchers: set[_Watcher] = set()
        self._newest: tuple[int, bytes] = (-1, b"")
        self._count = 0
        self.encoded = 0
        self._started = threading.Event()
        self._server = uvicorn.Server(
            uvicorn.Config(
                _Gate(self._app(), self),
                # Its own configuration would close the handlers of whoever has us in their program.
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                http=_Door,
                ws=_Line,
                ws_max_size=MAX_REQUEST,
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="kinochrome-web", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = _own_address(self._socket.family) if self._host in _EVERYWHERE else self._host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def write(self, shown: Shown) -> None:
        """Encodes the picture if anybody looks; what it was made of too if anybody compares."""
        if not self._watchers:
            return
        shape = shown.taken.info.pixel_aspect
        after, size = encode_picture(shown.frame, longest=LONGEST, pixel_aspect=shape)
        before = b""
        if any(watcher.wants_before for watcher in list(self._watchers)):
            before, _ = encode_picture(shown.taken.frame, longest=LONGEST, pixel_aspect=shape)
        self._count += 1
        self.encoded += 1
        head = {"seq": self._count, "after": len(after), "before": len(before), "width": size[0], "height": size[1]}
        with suppress(RuntimeError):  # the server has just been closed
            self._loop.call_soon_threadsafe(self._announce, self._count, _pack(head, after, before))

    def idle(self) -> None:
        """The state goes out by itself."""

    def close(self) -> None:
        """Ends the server; pages then try to come back."""
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._started.set()
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _announce(self, number: int, message: bytes) -> None:
        self._newest = (number, message)
        for watcher in self._watchers:
            watcher.news.set()

    def _app(self) -> Starlette:
        folder = resources.files("stream") / "page"
        pages = {
            path: Response((folder / name).read_bytes(), media_type=kind, headers=_HEADERS)
            for path, (name, kind) in _FILES.items()
        }

        async def page(request: Request) -> Response:
            return pages[request.url.path]

        routes = [
            *(Route(path, page) for path in pages),
            Route("/state", self._state),
            Route("/snapshot.png", self._snapshot),
            Route("/metrics", self._metrics),
            WebSocketRoute("/ws", self._watch),
        ]
        return Starlette(routes=routes)

    async def _state(self, request: Request) -> Response:
        return JSONResponse(self._controls.state(), headers=_HEADERS)

    async def _snapshot(self, request: Request) -> Response:
        reply, picture = await asyncio.to_thread(self._controls.answer, b'{"v": 1, "op": "snapshot"}')
        if picture is None:
            return PlainTextResponse(str(reply["error"]), status_code=503, headers=_HEADERS)
        named = {"Content-Disposition": 'attachment; filename="kinochrome.png"'}
        return Response(picture, media_type="image/png", headers=_HEADERS | named)

    async def _metrics(self, request: Request) -> Response:
        try:
            text, kind = expose(self._controls.numbers())
        except UsageError as error:
            return PlainTextResponse(str(error), status_code=501, headers=_HEADERS)
        return Response(text, headers={"Content-Type": kind} | _HEADERS)

    async def _watch(self, connection: WebSocket) -> None:
        if len(self._watchers) >= MAX_WATCHERS:
            await connection.close(1013)
            return
        await connection.accept()
        watcher = _Watcher()
        self._watchers.add(watcher)
        sender = asyncio.create_task(self._send(connection, watcher))
        try:
            await self._listen_to(connection, watcher)
        except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, or a message of another kind than was announced
            pass
        finally:
            self._watchers.discard(watcher)
            sender.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    async def _listen_to(self, connection: WebSocket, watcher: _Watcher) -> None:
        mistakes = 0
        while mistakes < MAX_MISTAKES:
            message = await connection.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or ""
            if not self._heed(text, watcher):
                reply, _ = await asyncio.to_thread(self._controls.answer, text)
                mistakes += not reply["ok"]
                await connection.send_text(json.dumps(reply))
        await connection.close(1008)

    def _heed(self, text: str, watcher: _Watcher) -> bool:
        """What a page says about itself: it has drawn a picture, or it compares. No JSON, so that it costs nothing."""
        if text == "drawn":
            watcher.under_way = max(0, watcher.under_way - 1)
            watcher.news.set()
        elif text in ("compare", "single"):
            watcher.wants_before = text == "compare"
        else:
            return False
        return True

    async def _send(self, connection: WebSocket, watcher: _Watcher) -> None:
        loop = asyncio.get_running_loop()
        state_due = 0.0
        while True:
            if loop.time() >= state_due:
                state_due = loop.time() + _STATE_S
                await connection.send_text(json.dumps({"v": 1, "ok": True, "state": self._controls.state()}))
            number, message = self._newest
            if number > watcher.sent and message and watcher.under_way < AHEAD:
                watcher.sent = number
                watcher.under_way += 1
                await connection.send_bytes(message)
                continue
            watcher.news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(watcher.news.wait(), max(0.01, state_due - loop.time()))


class _Door(H11Protocol):
    """A connection; one too many is closed before it says anything, and one that asks for nothing soon after."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self.loop.call_later(HURRY_S, self._hurry)

    def _hurry(self) -> None:
        if self.transport.get_protocol() is not self:
            return  # a WebSocket by now
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            self.loop.call_later(HURRY_S, self._hurry)


class _Line(WebSocketsSansIOProtocol):
    """A WebSocket; whoever makes it answer (pings, too) and reads nothing is sent away."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()


class _Gate:
    """Stands before everything: who asks, from which page, by which name of ours, with which token."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], preview: Preview) -> None:
        self._app = app
        self._preview = preview

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope)
        if problem is None:
            if self._preview.token is not None and scope["type"] == "http":
                send = self._with_cookie(send)
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(problem, status_code=403, headers=_HEADERS)(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._preview.token is None and not is_loopback(_name_of(host)):
            return "this page answers to the name of this machine alone"  # else any site could rebind its name to us
        if origin is not None and origin.split("://")[-1] != host:
            return "another site's page may not ask this"
        # Browsers send no Origin for pictures, scripts and frames; a link or an address typed in is a person's will.
        opens = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") == "cross-site" and not (opens and scope.get("method") == "GET"):
            return "another site's page may not ask this"
        token = self._preview.token
        if token is not None:
            connection = HTTPConnection(scope)
            given = connection.query_params.get("token") or connection.cookies.get(_COOKIE) or ""
            if not hmac.compare_digest(given.encode(), token.encode()):
                return "the token is missing or wrong; open the address that kinochrome printed"
        return None

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{_COOKIE}={self._preview.token}; HttpOnly; SameSite=Strict; Path=/"

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        return sending


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    return host[1:].split("]")[0] if host.startswith("[") else host.rsplit(":", 1)[0]


def _own_address(family: int) -> str:
    """An address by which others find this machine; its name where it has none. Nothing is sent."""
    far = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # of the ranges for documents
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((far, 9))
            return str(asking.getsockname()[0])
        except OSError:  # no way out
            return socket.gethostname()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"preview at {host}:{port}: can't be opened ({reason}); choose another --web or --port"
        ) from error
    return listener


def _pack(head: dict[str, int], after: bytes, before: bytes) -> bytes:
    """Length of the header in 4 bytes, the header in JSON, the picture, and what it was made of."""
    text = json.dumps(head).encode()
    return struct.pack(">I", len(text)) + text + after + before
