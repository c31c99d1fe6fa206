from __future__ import annotations

import json
import logging
from email.utils import formatdate
from typing import Any

import pytest
from misbehaving import Act, FakeClock, dripping, endless, half, hang, reply, reset, respond, serving
from misbehaving import Endpoint as Server

from eval.judge import client as module
from eval.judge.address import is_this_machine
from eval.judge.client import Endpoint, EndpointError, JudgeClient, Verdict
from eval.judge.rubrics import rubric

PULSE = rubric("pulse_report_10")
GOOD = {"Diagnosis": 8, "Waveform": 7, "Rhythm": 9}
MESSAGES = PULSE.messages("sinus rhythm", "atrial fibrillation")
KEY = "top-secret-4711"


def ask(server: Server, clock: FakeClock, **options: Any) -> Verdict:
    endpoint = Endpoint(server.url, "a-judge", **{"retries": 2, "timeout_s": 5.0, **options})
    with JudgeClient(endpoint, clock) as client:
        return client.ask(MESSAGES, PULSE.schema, PULSE.read)


def test_a_good_answer_is_taken_as_it_is() -> None:
    clock = FakeClock()
    with serving(reply(GOOD)) as server:
        verdict = ask(server, clock, key=KEY)
    assert (verdict.outcome, verdict.attempts, verdict.model) == ("judged", 1, "judge-2026")
    assert PULSE.read(verdict.reply or "") == {"diagnosis": 8, "waveform": 7, "rhythm": 9}
    sent = server.requests[0]
    assert (sent["model"], sent["temperature"], sent["messages"]) == ("a-judge", 0.0, MESSAGES)
    assert sent["response_format"]["json_schema"]["schema"] == PULSE.schema
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert clock.slept == []


@pytest.mark.parametrize(
    ("act", "outcome", "says"),
    [
        (respond(429, "slow down"), "rate_limited", "HTTP 429: slow down"),
        (respond(502, "<html>Bad Gateway</html>"), "server_error", "HTTP 502: <html>"),
        (respond(503, ""), "server_error", "HTTP 503"),
        (respond(408, ""), "timeout", "HTTP 408"),
        (respond(200, "<html>hello</html>"), "invalid", "no chat completion"),
        (respond(200, "[]"), "invalid", "no chat completion"),
        (respond(200, '{"choices": []}'), "invalid", "no chat completion"),
        (respond(200, "[" * 100_000), "invalid", "no chat completion"),
        (
            respond(200, "not gzip", Content_Encoding="gzip"),
            "invalid",
            "it is compressed, which was not asked for",
        ),
        (endless(), "invalid", "more than 1048576 bytes"),
        (endless(500), "invalid", "more than 1048576 bytes"),
        (reply('{"Diagnosis": 1e999, "Waveform": 7, "Rhythm": 9}'), "invalid", "greater than the maximum"),
        (reply('{"Diagnosis": ' + "9" * 4000 + ', "Waveform": 7, "Rhythm": 9}'), "invalid", "Diagnosis: 999"),
        (reply('{"Diagnosis": ' + "9" * 5000 + ', "Waveform": 7, "Rhythm": 9}'), "invalid", "no JSON"),
        (reply("[" * 100_000), "invalid", "no JSON"),
        (reply('{"x": ' + "[" * 900 + "]" * 900 + "}"), "invalid", ""),
        (respond(503, "\x1b[2J\u202e gone\x00"), "server_error", "HTTP 503: \ufffd[2J\ufffd gone\ufffd"),
        (respond(200, " " * (1 << 20) + "{}"), "invalid", "more than 1048576 bytes"),
        (reply(None), "invalid", "no text"),
        (reply('{"Diagnosis": 8, "Wavef'), "invalid", "no JSON"),
        (reply("I would say an eight."), "invalid", "no JSON"),
        (reply({"Diagnosis": 8, "Waveform": 7}), "invalid", "'Rhythm' is a required property"),
        (reply({**GOOD, "Rhythm": 11}), "invalid", "Rhythm: 11 is greater than the maximum of 10"),
        (reply({**GOOD, "Rhythm": "9"}), "invalid", "is not of type 'number'"),
        (half('{"choices": [{"message": '), "unreachable", "RemoteProtocolError"),
        (reset, "unreachable", "Error"),
    ],
)
def test_what_goes_wrong_is_tried_again_and_then_named(act: Act, outcome: str, says: str) -> None:
    clock = FakeClock()
    with serving(act) as server:
        verdict = ask(server, clock)
    assert (verdict.outcome, verdict.attempts, len(server.requests)) == (outcome, 3, 3)
    assert says in (verdict.error or "")
    assert len(verdict.error or "") < 200
    assert len(clock.slept) == 2
    assert 0.5 <= clock.slept[0] <= 1.0 <= clock.slept[1] <= 2.0


@pytest.mark.parametrize(
    "act", [respond(429, ""), respond(502, "<html>"), reply("{"), half("{"), reset, respond(200, "")]
)
def test_one_bad_attempt_costs_nothing_but_time(act: Act) -> None:
    with serving(act, reply(GOOD)) as server:
        verdict = ask(server, FakeClock())
    assert (verdict.outcome, verdict.attempts) == ("judged", 2)


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (reply(None, refusal="I cannot grade this."), "refused"),
        (reply(None, finish="content_filter"), "refused"),
        (reply('{"Diagnosis": 8', finish="length"), "truncated"),
        (respond(400, "context length exceeded"), "rejected"),
        (respond(413, ""), "rejected"),
    ],
)
def test_what_would_be_the_same_again_is_not_asked_again(act: Act, outcome: str) -> None:
    with serving(act) as server:
        verdict = ask(server, FakeClock())
    assert (verdict.outcome, verdict.attempts, len(server.requests)) == (outcome, 1, 1)


def test_silence_is_a_timeout() -> None:
    """The one real wait: three attempts of a tenth of a second."""
    servers: list[Server] = []
    with serving(hang(lambda: servers[0])) as server:
        servers.append(server)
        verdict = ask(server, FakeClock(), timeout_s=0.1)
    assert (verdict.outcome, verdict.attempts) == ("timeout", 3)
    assert verdict.error == "no whole answer within 0.1 s"


def test_an_answer_that_drips_is_a_timeout_too() -> None:
    """Each part comes in time, the whole does not: 4 s pass with every look at the clock, 5 are allowed."""

    class Hasty(FakeClock):
        def monotonic(self) -> float:
            self.now += 4
            return self.now

    with serving(respond(200, "x" * 200_000)) as server:
        assert ask(server, Hasty(), retries=0).outcome == "timeout"


def test_headers_that_drip_are_a_timeout_too() -> None:
    """Every letter comes in time; each attempt ends after its tenth of a second all the same."""
    servers: list[Server] = []
    with serving(dripping(lambda: servers[0])) as server:
        servers.append(server)
        verdict = ask(server, FakeClock(), timeout_s=0.1)
        server.models = dripping(lambda: servers[0])
        with (
            JudgeClient(Endpoint(server.url, "m", retries=1, timeout_s=0.1), FakeClock()) as client,
            pytest.raises(EndpointError, match=r"nothing answers at .*: ReadTimeout"),
        ):
            client.knock()
    assert (verdict.outcome, verdict.attempts) == ("timeout", 3)


def test_a_list_of_models_that_never_ends_is_not_read() -> None:
    with serving(reply(GOOD)) as server:
        server.models = endless()
        with JudgeClient(Endpoint(server.url, "m"), FakeClock()) as client:
            client.knock()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_text_and_no_key_goes_where_a_redirect_says(status: int) -> None:
    with serving(reply(GOOD)) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        with serving(respond(status, "", Location=elsewhere)) as server:
            server.models = respond(status, "", Location=other.url + "/models")
            with pytest.raises(EndpointError, match="a redirect, which is not followed"):
                ask(server, FakeClock(), key=KEY)
            with (
                JudgeClient(Endpoint(server.url, "m", key=KEY), FakeClock()) as client,
                pytest.raises(EndpointError, match="a redirect, which is not followed"),
            ):
                client.knock()
    assert other.requests == []


def test_what_a_judge_calls_itself_is_short_and_harmless() -> None:
    message = {"message": {"role": "assistant", "content": json.dumps(GOOD)}, "finish_reason": "stop"}
    named = json.dumps({"model": "\x1b[31mj\u202e" + "x" * 100_000, "choices": [message]})
    with serving(respond(200, named)) as server:
        verdict = ask(server, FakeClock())
    assert verdict.outcome == "judged"
    assert verdict.model == "\ufffd[31mj\ufffd" + "x" * (160 - 7)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_obeyed(status: int) -> None:
    clock = FakeClock()
    with serving(respond(status, "", Retry_After="17"), reply(GOOD)) as server:
        assert ask(server, clock).outcome == "judged"
    assert clock.slept == [17.0]


def test_retry_after_as_a_date_is_obeyed() -> None:
    clock = FakeClock()
    with serving(
        respond(429, "", Retry_After=formatdate(clock.now + 42, usegmt=True)), reply(GOOD)
    ) as server:
        assert ask(server, clock).outcome == "judged"
    assert clock.slept == [42.0]


@pytest.mark.parametrize("value", ["soon", "-5", "1e3", "", "9" * 40])
def test_a_retry_after_that_cannot_be_read_is_as_none(value: str) -> None:
    clock = FakeClock()
    with serving(respond(429, "", Retry_After=value), reply(GOOD)) as server:
        assert ask(server, clock).outcome == "judged"
    assert 0 <= clock.slept[0] <= 1


def test_who_asks_to_wait_an_hour_is_not_waited_for() -> None:
    clock = FakeClock()
    with serving(respond(429, "", Retry_After="3600")) as server:
        verdict = ask(server, clock)
    assert (verdict.outcome, verdict.attempts, clock.slept) == ("rate_limited", 1, [])


def test_a_wait_asked_for_holds_for_every_later_question() -> None:
    clock = FakeClock()
    with (
        serving(respond(429, "", Retry_After="30"), reply(GOOD)) as server,
        JudgeClient(Endpoint(server.url, "m", retries=1), clock) as client,
    ):
        client._pause(module._Fault("rate_limited", "", again=True, wait_s=30.0), 0, "")
        assert client.ask(MESSAGES, PULSE.schema, PULSE.read).attempts == 2
    assert clock.slept == [30.0, 30.0]


def test_waits_grow_to_a_minute_and_no_further() -> None:
    clock = FakeClock()
    with serving(respond(500, "")) as server:
        ask(server, clock, retries=9)
    limits = [min(60.0, 2.0**n) for n in range(9)]
    assert all(limit / 2 <= slept <= limit for slept, limit in zip(clock.slept, limits, strict=True))


@pytest.mark.parametrize(
    ("status", "key", "says"),
    [
        (401, KEY, "the key was refused"),
        (403, None, "no key was sent"),
        (404, KEY, "no model 'a-judge'"),
        (307, KEY, "a redirect, which is not followed"),
    ],
)
def test_what_is_wrong_for_every_record_ends_the_judging(status: int, key: str | None, says: str) -> None:
    act = respond(status, f"Incorrect API key provided: {KEY}", Location="http://127.0.0.1:9/elsewhere")
    with serving(act) as server, pytest.raises(EndpointError, match=says) as caught:
        ask(server, FakeClock(), key=key)
    assert len(server.requests) == 1
    assert KEY not in str(caught.value)


def test_the_key_is_nowhere_but_in_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", key=KEY)
    assert KEY not in repr(endpoint)
    with serving(respond(400, f"you sent {KEY}")) as server:
        verdict = ask(server, FakeClock(), key=KEY)
    assert verdict.error == "HTTP 400: you sent ***"
    assert KEY not in caplog.text + repr(verdict)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "naïve", "tab\t"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(EndpointError, match="the key is empty, or holds") as caught:
        JudgeClient(Endpoint("http://127.0.0.1:9/v1", "m", key=key))
    assert not key or key not in str(caught.value)


def test_knocking_sends_no_text_and_finds_out() -> None:
    with serving(reply(GOOD)) as server:
        with JudgeClient(Endpoint(server.url, "m"), FakeClock()) as client:
            client.knock()
            server.models_status = 404  # no list of models: it is there all the same
            client.knock()
            server.models_status = 401
            with pytest.raises(EndpointError, match="no key was sent"):
                client.knock()
        assert server.requests == []
        url = server.url
    clock = FakeClock()
    with (
        JudgeClient(Endpoint(url, "m", retries=2), clock) as client,
        pytest.raises(EndpointError, match="nothing answers at"),
    ):
        client.knock()
    assert len(clock.slept) == 2


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(reply(GOOD)) as server:
        assert ask(server, FakeClock()).outcome == "judged"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://127.8.9.1:1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://api.example.org/v1", False),
        ("http://localhost.example.org/v1", False),
        ("http://localhost@example.org/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
        ("http://0.0.0.0/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://", False),
    ],
)
def test_only_the_loopback_is_this_machine(url: str, local: bool) -> None:
    assert is_this_machine(url) is local


@pytest.mark.parametrize("form", ["json_object", "text"])
def test_servers_that_know_no_schema_are_sent_none(form: str) -> None:
    with serving(reply(f"```json\n{json.dumps(GOOD)}\n```")) as server:
        assert ask(server, FakeClock(), reply_format=form).outcome == "judged"
    assert server.requests[0].get("response_format") == ({"type": form} if form == "json_object" else None)
