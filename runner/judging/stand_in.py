"""The judge of a rehearsal: an endpoint on this machine that grades by the findings two texts share.

It proves the way that a judged answer takes (request, response, schema, retry, cache, report) where there
is no judge, no key and no network. Its grades mean nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eval.entities import counts

NAME = "stand-in of a rehearsal"


@contextmanager
def stand_in() -> Iterator[str]:
    """Serve on a free port of the loopback until the block ends; yield the base address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def grades(request: Mapping[str, Any]) -> dict[str, float]:
    """Return the same share of its scale for everything that the request's schema asks for."""
    texts = json.loads(request["messages"][-1]["content"])
    found = counts(texts["candidate"], texts["reference"])
    said = found.answered + found.referenced
    share = 2 * found.shared / said if said else 0.0
    asked = request["response_format"]["json_schema"]["schema"]["properties"]
    return {
        name: round(scale["minimum"] + share * (scale["maximum"] - scale["minimum"]), 3)
        for name, scale in asked.items()
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True  # else head and body are 40 ms apart

    def do_GET(self) -> None:
        """Answer a knock."""
        self._answer({"object": "list", "data": [{"id": NAME, "object": "model"}]})

    def do_POST(self) -> None:
        """Answer a question."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": json.dumps(grades(request))}
        self._answer({"model": NAME, "choices": [{"message": message, "finish_reason": "stop"}]})

    def _answer(self, value: Mapping[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the stage's log is for the user."""
