"""The signature of inbound events, and their form."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from bailiwick.kernel.errors import InvalidInput
from bailiwick.logsources.connectors.webhook import (
    MAX_BODY_BYTES,
    MAX_EVENTS,
    check_signature,
    read_events,
    read_signature,
    sign,
)
from bailiwick.logsources.errors import WebhookSignatureInvalid
from bailiwick.secrets import Secret
from tests.logsources.conftest import Clock

SECRET = Secret("whsec_4f2a")
BODY = b'{"id":"e1","action":"door.opened","at":"2026-05-12T13:59:00Z"}'


def verify(secret: Secret, header: str, body: bytes, *, now: datetime) -> None:
    check_signature(secret, read_signature(header, now=now), body)


def test_a_known_signature(clock: Clock) -> None:
    # Computed with: printf '%s' '1778594400.<body>' | openssl dgst -sha256 -hmac whsec_4f2a
    header = sign(SECRET, BODY, at=clock.time)
    assert header == "t=1778594400,v1=a35f8148a00e03f33c02282f46b6c4c3aefac5d9f2cef2c63a5e8715fe1f8fae"
    verify(SECRET, header, BODY, now=clock.time)


def test_any_of_several_signatures_is_enough(clock: Clock) -> None:
    seconds, _, good = sign(SECRET, BODY, at=clock.time).partition(",")
    verify(SECRET, f"{seconds}, v1={'0' * 64}, v0=x, {good}", BODY, now=clock.time)


@pytest.mark.parametrize(("seconds", "fresh"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_the_tolerance(clock: Clock, seconds: int, fresh: bool) -> None:
    header = sign(SECRET, BODY, at=clock.time)
    now = clock.time + timedelta(seconds=seconds)
    if fresh:
        verify(SECRET, header, BODY, now=now)
    else:
        with pytest.raises(WebhookSignatureInvalid, match="older or newer"):
            verify(SECRET, header, BODY, now=now)


@pytest.mark.parametrize(
    "alter",
    [
        lambda header: "",
        lambda header: header.replace("t=", "t=1"),
        lambda header: header.replace("v1=", "v1=é"),
        lambda header: header.replace("v1=", "v2="),
        lambda header: header + ",t=1",
        lambda header: header.replace("t=", "t=-"),
        lambda header: header[:-1] + ("0" if header[-1] != "0" else "1"),
    ],
)
def test_every_altered_header_is_refused(clock: Clock, alter: Any) -> None:
    with pytest.raises(WebhookSignatureInvalid):
        verify(SECRET, alter(sign(SECRET, BODY, at=clock.time)), BODY, now=clock.time)


def test_an_altered_body_and_an_empty_secret_are_refused(clock: Clock) -> None:
    with pytest.raises(WebhookSignatureInvalid):
        verify(SECRET, sign(SECRET, BODY, at=clock.time), BODY + b" ", now=clock.time)
    with pytest.raises(WebhookSignatureInvalid):
        verify(Secret(""), sign(Secret(""), BODY, at=clock.time), BODY, now=clock.time)


def test_events_are_read_once_by_id() -> None:
    one = json.loads(BODY)
    many = read_events(
        json.dumps({"events": [one, {**one, "id": "e2", "actor": "ana", "attributes": {"a": 1}}, one]}).encode()
    )
    assert [event.event_id for event in many] == ["e1", "e2"]
    assert many[1].actor == "ana"
    assert read_events(BODY)[0].action == "door.opened"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"no", "not JSON"),
        (b"[]", "must be an event"),
        (b'{"events":7}', "must be an event"),
        (b'{"events":[7]}', r"events\[0\]: must be an object"),
        (b'{"action":"x","at":"2026-05-12T13:59:00Z"}', r"\.id"),
        (b'{"id":"","action":"x","at":"2026-05-12T13:59:00Z"}', r"\.id"),
        (b'{"id":"e","action":"\\u0000","at":"2026-05-12T13:59:00Z"}', r"\.action"),
        (b'{"id":"e","action":"x","at":"soon"}', r"\.at"),
        (b'{"id":"e","action":"x","at":"2026-05-12T13:59:00Z","actor":1}', r"\.actor"),
        (b'{"id":"e","action":"x","at":"2026-05-12T13:59:00Z","outcome":"won"}', r"\.outcome"),
        (b'{"id":"e","action":"x","at":"2026-05-12T13:59:00Z","attributes":[1]}', r"\.attributes"),
        (b'{"events":[' + b"{}," * MAX_EVENTS + b"{}]}", "at most"),
        (b" " * (MAX_BODY_BYTES + 1), "larger"),
    ],
)
def test_a_wrong_body_names_what_is_wrong(body: bytes, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        read_events(body)
