"""One question, one answer: an OpenAI-compatible chat endpoint, which may misbehave in any way.

httpx with a retry of our own rather than the `openai` package: it is installed with lm-eval's and the
hub's packages already, and what is retried, how long is waited and what is counted is our promise.

Redirects are not followed, for they could send patients' text to another host. An endpoint on this
machine is never reached through a proxy. No response, of whatever status, is read beyond a size and a time,
headers included; compressed ones are refused, for a few bytes of them can become gigabytes.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from threading import Event, Lock, Timer
from typing import Any, Protocol

import httpx

from eval.judge.address import is_this_machine
from eval.judge.outcomes import JUDGED

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Between two attempts, where the endpoint does not say how long."""
LONGEST_ASKED_WAIT_S = 300.0
"""An endpoint that asks for a longer wait is not waited for: the record has an outcome and the run goes on."""
LARGEST_BODY = 1 << 20
"""Bytes of a response that are read."""
ERROR_CHARACTERS = 160
"""Of an endpoint's own words in an error, and of what it calls its model."""
REPLY_CHARACTERS = 20_000
"""Of a reply that are kept; no rubric reads more."""

Check = Callable[[str], object]
"""Reads a reply; raises ValueError, with the reason, where it is not what was asked for."""


class EndpointError(Exception):
    """The endpoint cannot be used at all: wrong address, key, or kind of server. Asking again will not help."""


class Clock(Protocol):
    """Time, so that a test need not wait."""

    def monotonic(self) -> float:
        """Return seconds that only go forward."""

    def time(self) -> float:
        """Return seconds since 1970."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""

    def wake(self) -> None:
        """End every wait, now and later."""


class SystemClock:
    """The machine's time, with waits that can be ended."""

    def __init__(self) -> None:
        self._awake = Event()

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        self._awake.wait(seconds)

    def wake(self) -> None:
        """End every wait, now and later."""
        self._awake.set()


@dataclass(frozen=True)
class Endpoint:
    """Where a judge answers, and how it is asked. The key is never shown."""

    url: str
    """Base address; `/chat/completions` is added."""
    model: str
    key: str | None = field(default=None, repr=False)
    temperature: float = 0.0
    max_reply_tokens: int = 512
    reply_format: str = "json_schema"
    """`json_schema`, `json_object`, or `text` for servers that know neither."""
    timeout_s: float = 60.0
    """For one attempt, from the connection to the last byte."""
    retries: int = 4
    """Attempts after the first."""


@dataclass(frozen=True)
class Verdict:
    """What became of one question."""

    outcome: str
    """A key of `eval.judge.outcomes.MEANING`."""
    reply: str | None
    """The judge's own words, where there are any."""
    error: str | None
    """Why it is a bad answer."""
    attempts: int
    model: str | None
    """The model's name as the endpoint gave it."""


@dataclass(frozen=True)
class _Fault:
    """An attempt that gave no good answer."""

    outcome: str
    error: str
    again: bool
    wait_s: float | None = None
    reply: str | None = None
    model: str | None = None


class JudgeClient:
    """Asks one endpoint. May be used from several threads; close it, or use it in a `with` block.

    Raises:
        EndpointError: the key or the address cannot be one.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock | None = None) -> None:
        self.endpoint, self._clock = endpoint, clock or SystemClock()
        self._lock, self._not_before, self._closed = Lock(), self._clock.monotonic(), False
        key = endpoint.key
        if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
            raise EndpointError(
                "the key is empty, or holds a space, a line break or a letter that no key has"
            )
        headers = {"Accept-Encoding": "identity"}
        headers |= {} if endpoint.key is None else {"Authorization": f"Bearer {endpoint.key}"}
        try:
            self._http = httpx.Client(
                base_url=endpoint.url.rstrip("/") + "/",
                headers=headers,
                timeout=endpoint.timeout_s,
                follow_redirects=False,
                limits=httpx.Limits(max_keepalive_connections=0),  # each attempt its own, which can be cut
                trust_env=not is_this_machine(endpoint.url),
            )
        except httpx.InvalidURL as error:
            raise EndpointError(f"{endpoint.url!r} is no address: {error}") from error

    def __enter__(self) -> JudgeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; who waits in another thread stops waiting and gets an `EndpointError`."""
        self._closed = True
        self._clock.wake()
        self._http.close()

    def knock(self) -> None:
        """See that the endpoint is there and takes the key, without sending any text.

        A server without a list of models is taken for good: it answered.

        Raises:
            EndpointError: no connection after all attempts, the key is refused, or it is no API.
        """
        for attempt in range(self.endpoint.retries + 1):
            try:
                with self._asking("GET", "models") as response:
                    status = response.status_code  # the list itself is not read, however long it is
            except httpx.TransportError as error:
                fault = _Fault("unreachable", type(error).__name__, again=True)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise EndpointError(f"{self.endpoint.url} cannot be asked: {error}") from error
            else:
                self._usable(status, knocking=True)
                return
            if attempt < self.endpoint.retries:
                self._pause(fault, attempt, "knock")
        raise EndpointError(f"nothing answers at {self.endpoint.url}: {fault.error}")

    def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], check: Check) -> Verdict:
        """Return the judge's answer, or the outcome that it ended with.

        Args:
            messages: as the chat API takes them.
            schema: JSON Schema of the answer, sent where `reply_format` is `json_schema`.
            check: raises ValueError for an answer that is not what was asked for.

        Raises:
            EndpointError: the endpoint cannot be used at all.
        """
        body = self._body(messages, schema)
        jitter = json.dumps(messages, sort_keys=True)
        for attempt in range(self.endpoint.retries + 1):
            self._wait_for_gate()
            got = self._attempt(body, check)
            if isinstance(got, Verdict):
                return Verdict(JUDGED, got.reply, None, attempt + 1, got.model)
            too_long = got.wait_s is not None and got.wait_s > LONGEST_ASKED_WAIT_S
            if not got.again or too_long or attempt == self.endpoint.retries:
                break
            self._pause(got, attempt, jitter)
        return Verdict(got.outcome, got.reply, got.error, attempt + 1, got.model)

    # ------------------------------------------------------------------------------------ one attempt

    def _body(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> dict[str, Any]:
        formats: dict[str, dict[str, Any]] = {
            "json_schema": {
                "type": "json_schema",
                "json_schema": {"name": "grades", "strict": True, "schema": schema},
            },
            "json_object": {"type": "json_object"},
        }
        chosen = formats.get(self.endpoint.reply_format)
        return {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": self.endpoint.temperature,
            "max_tokens": self.endpoint.max_reply_tokens,
            **({} if chosen is None else {"response_format": chosen}),
        }

    def _attempt(self, body: Mapping[str, Any], check: Check) -> Verdict | _Fault:
        try:
            status, headers, content = self._post(body)
        except httpx.TimeoutException:
            return _Fault("timeout", f"no whole answer within {self.endpoint.timeout_s:g} s", again=True)
        except httpx.TransportError as error:
            return _Fault("unreachable", f"{type(error).__name__}: {error}", again=True)
        except httpx.DecodingError as error:
            return _Fault("invalid", f"the response is damaged: {error}", again=True)
        if status != 200:
            return self._refusal(status, headers, content)
        return _answer(content, check)

    def _post(self, body: Mapping[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """Return status, headers and body, all within the time allowed for one attempt."""
        ends = self._clock.monotonic() + self.endpoint.timeout_s
        parts, size = [], 0
        with self._asking("POST", "chat/completions", json=body) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise httpx.DecodingError("it is compressed, which was not asked for")
            for part in response.iter_raw():
                parts.append(part)
                size += len(part)
                if self._clock.monotonic() > ends:
                    raise httpx.ReadTimeout("the answer came too slowly")
                if size > LARGEST_BODY:
                    raise httpx.DecodingError(f"more than {LARGEST_BODY} bytes")
            return response.status_code, response.headers, b"".join(parts)

    @contextmanager
    def _asking(self, method: str, place: str, **sent: Any) -> Iterator[httpx.Response]:
        """Give a response whose body is not read yet; the line is cut when the time for one attempt is over.

        A timeout of httpx is one for each read: an endpoint that sends a letter of a header now and then keeps it
        waiting for ever.

        Raises:
            httpx.ReadTimeout: the time is over.
        """
        line = _Line()
        watch = Timer(self.endpoint.timeout_s, line.cut)
        watch.daemon = True
        watch.start()
        try:
            with self._http.stream(method, place, extensions={"trace": line.seen}, **sent) as response:
                yield response
        except httpx.TransportError as error:
            if line.is_cut:
                raise httpx.ReadTimeout("the answer came too slowly") from error
            raise
        finally:
            watch.cancel()

    def _refusal(self, status: int, headers: httpx.Headers, content: bytes) -> _Fault:
        """Return the fault of a response that is no 200.

        Raises:
            EndpointError: it would be the same for every record.
        """
        self._usable(status, knocking=False)
        said = self._said(status, content)
        wait = _retry_after(headers.get("retry-after"), self._clock.time())
        if status in (408, 409, 425):
            return _Fault("timeout" if status == 408 else "server_error", said, again=True, wait_s=wait)
        if status == 429:
            return _Fault("rate_limited", said, again=True, wait_s=wait)
        if status >= 500 or status < 400:
            return _Fault("server_error", said, again=True, wait_s=wait)
        return _Fault("rejected", said, again=False)

    def _usable(self, status: int, *, knocking: bool) -> None:
        where = self.endpoint.url
        if status in (401, 403):
            given = "no key was sent" if self.endpoint.key is None else "the key was refused"
            raise EndpointError(f"{where} answered {status}: {given}")
        if 300 <= status < 400:
            raise EndpointError(f"{where} answered {status}, a redirect, which is not followed")
        if status in (404, 405) and not knocking:
            raise EndpointError(
                f"{where}/chat/completions answered {status}: the address is not that of a chat API, "
                f"or it has no model {self.endpoint.model!r}"
            )

    def _said(self, status: int, content: bytes) -> str:
        """Return the status and the start of what the endpoint said, without the key."""
        text = " ".join(content[:LARGEST_BODY].decode("utf-8", "replace").split())[:4096]
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "***")
        return f"HTTP {status}: {_shown(text)}" if text else f"HTTP {status}"

    # ------------------------------------------------------------------------------------ between two

    def _pause(self, fault: _Fault, attempt: int, jitter: str) -> None:
        """Wait before the next attempt; what the endpoint asked for holds for every thread.

        Without a word from it: twice as long each time, times 0.5 to 1 drawn from the question, so that
        many askers do not come back at once and a test can say how long.
        """
        if fault.wait_s is not None:
            with self._lock:
                self._not_before = max(self._not_before, self._clock.monotonic() + fault.wait_s)
            return
        share = random.Random(f"{attempt} {jitter}").uniform(0.5, 1.0)
        self._clock.sleep(share * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))

    def _wait_for_gate(self) -> None:
        while True:
            with self._lock:
                left = self._not_before - self._clock.monotonic()
            if self._closed:
                raise EndpointError("the judging was ended")
            if left <= 0:
                return
            self._clock.sleep(left)


class _Line:
    """The connection of one attempt, which another thread may cut."""

    def __init__(self) -> None:
        self.is_cut, self._socket = False, None

    def seen(self, event: str, info: Mapping[str, Any]) -> None:
        """Take the socket when it is there, and again when TLS is put upon it."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.is_cut:  # while the connection was being made
                self.cut()

    def cut(self) -> None:
        """End whatever is being read or written."""
        self.is_cut = True
        if self._socket is not None:
            with suppress(OSError):  # closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _answer(content: bytes, check: Check) -> Verdict | _Fault:
    """Return the reply in a chat completion, or what is wrong with it."""
    try:
        value = json.loads(content)
        choice = value["choices"][0]
        message = choice["message"]
        reply, refusal = message.get("content"), message.get("refusal")
        ended, named = choice.get("finish_reason"), value.get("model")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return _Fault("invalid", f"no chat completion: {type(error).__name__}", again=True)
    model = _shown(named) if isinstance(named, str) else None
    reply = reply[:REPLY_CHARACTERS] if isinstance(reply, str) else None
    if refusal or ended == "content_filter":
        said = refusal if isinstance(refusal, str) else "stopped by a filter"
        return _Fault("refused", _shown(said), again=False, reply=reply, model=model)
    if ended == "length":
        return _Fault(
            "truncated", "the longest reply allowed was reached", again=False, reply=reply, model=model
        )
    if reply is None:
        return _Fault("invalid", "the message has no text", again=True, model=model)
    try:
        check(reply)
    except ValueError as error:
        return _Fault("invalid", _shown(str(error)), again=True, reply=reply, model=model)
    return Verdict(JUDGED, reply, None, 1, model)


def _shown(text: str) -> str:
    """Return the start of what an endpoint said, without what a terminal or a browser would act upon."""
    line = " ".join(text[: 4 * ERROR_CHARACTERS].split())[:ERROR_CHARACTERS]
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)


def _retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; None where it gives none that can be read.

    Source:
        RFC 9110, section 10.2.3: a whole number of seconds, or a date.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
