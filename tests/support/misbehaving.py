"""A chat endpoint on this machine that does, one request after another, what a test tells it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class FakeClock:
    """Time that passes only where somebody sleeps."""

    now: float = 1_000_000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def wake(self) -> None:
        """Nobody waits."""


@dataclass
class Endpoint:
    """What was asked of the endpoint, and what it will do. The last act is repeated."""

    acts: list[Act]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    models_status: int = 200
    models: Act | None = None
    """What the list of models does; without it `models_status` and an empty object."""
    release: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*acts: Act) -> Iterator[Endpoint]:
    """Serve on a free port of the loopback until the block ends."""
    state, lock = Endpoint(list(acts)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            (state.models or respond(state.models_status, "{}"))(self)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                state.requests.append(json.loads(body))
                state.headers.append({key.lower(): value for key, value in self.headers.items()})
                act = state.acts.pop(0) if len(state.acts) > 1 else state.acts[0]
            act(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - the asker hangs up on purpose
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def respond(status: int, body: str, **headers: str) -> Act:
    """Return an act that answers whole."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        data = body.encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


def reply(content: Any, *, finish: str = "stop", refusal: str | None = None) -> Act:
    """Return an act that answers with a chat completion; `content` is made into JSON unless it is text."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    message = {"role": "assistant", "content": text, "refusal": refusal}
    value = {"model": "judge-2026", "choices": [{"message": message, "finish_reason": finish}]}
    return respond(200, json.dumps(value), Content_Type="application/json")


def endless(status: int = 200) -> Act:
    """Return an act whose answer never ends, as fast as it is taken."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        while True:  # until who asked hangs up, which raises
            handler.wfile.write(b" " * 65536)

    return act


def dripping(state: Callable[[], Endpoint]) -> Act:
    """Return an act that sends one header after another, a letter at a time, and never comes to their end."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not state().release.wait(0.02):
            handler.wfile.write(b"x")
        handler.close_connection = True

    return act


def half(act_body: str) -> Act:
    """Return an act that promises a whole answer and hangs up in the middle of it."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        data = act_body.encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(2 * len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True

    return act


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()
    handler.close_connection = True


def hang(state: Callable[[], Endpoint]) -> Act:
    """Return an act that says nothing until the test ends."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        state().release.wait(30)
        handler.close_connection = True

    return act
