"""The Stripe signature: what proves an event and what does not (contract x-stripe)."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from stripe import WebhookSignature

from bailiwick.billing import WebhookSignatureInvalid
from bailiwick.billing.stripe_signature import verify_signature

SECRET = "whsec_test_secret"
BODY = b'{"id":"evt_1","object":"event"}'
AT = 1_767_225_600
# printf '1767225600.{"id":"evt_1","object":"event"}' | openssl dgst -sha256 -hmac whsec_test_secret
KNOWN = "238d47ccc3251152491130a4587f0a855c0e33e88993ce968255c6d168ef7601"


def accepted(header: str | None, *, body: bytes = BODY, secret: str | None = SECRET, at: float = AT) -> bool:
    try:
        verify_signature(body, header, secret, at=at)
    except WebhookSignatureInvalid as error:
        assert (error.status, error.code, error.message) == (
            400,
            "WEBHOOK_SIGNATURE_INVALID",
            "Invalid Stripe signature",
        )
        return False
    return True


def test_what_stripe_s_own_library_signs_is_accepted() -> None:
    assert accepted(WebhookSignature.generate_signature_header(BODY.decode(), SECRET, AT))


def test_a_vector_made_elsewhere_is_accepted() -> None:
    assert accepted(f"t={AT},v1={KNOWN}")


@pytest.mark.parametrize("others", ["v1=" + "0" * 64, "v0=" + "1" * 64, "v1=", "v1=é", "scheme=x"])
def test_one_match_among_the_v1_values_is_enough(others: str) -> None:
    assert accepted(f"t={AT},{others},v1={KNOWN}")
    assert accepted(f"t={AT},v1={KNOWN},{others}")
    assert not accepted(f"t={AT},{others}")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        f"t={AT}",
        f"v1={KNOWN}",
        f"t=,v1={KNOWN}",
        f"t=soon,v1={KNOWN}",
        f"t={AT}.0,v1={KNOWN}",
        f"t=-{AT},v1={KNOWN}",
        f"t={AT}{AT},v1={KNOWN}",
        f"t=١٧٦٧٢٢٥٦٠٠,v1={KNOWN}",
        f"t={AT},t={AT},v1={KNOWN}",
        f"t={AT},v0={KNOWN}",
        f"t={AT},v1={KNOWN[:-1]}",
        f"t={AT},v1={KNOWN.upper()}",
        f"t={AT + 1},v1={KNOWN}",
    ],
)
def test_malformed_or_wrong_headers_are_refused(header: str | None) -> None:
    assert not accepted(header)


def test_another_body_or_secret_is_refused() -> None:
    header = f"t={AT},v1={KNOWN}"
    assert not accepted(header, body=BODY + b" ")
    assert not accepted(header, secret="whsec_other")
    assert not accepted(header, secret=None)
    assert not accepted(header, secret="")


@pytest.mark.parametrize(("seconds", "fresh"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_the_time_may_differ_by_300_seconds_either_way(seconds: int, fresh: bool) -> None:
    assert accepted(f"t={AT},v1={KNOWN}", at=AT + seconds) is fresh


def test_bytes_that_are_no_text_can_be_signed() -> None:
    body = b"\xff\x00\xfe"
    digest = hmac.new(SECRET.encode(), f"{AT}.".encode() + body, sha256).hexdigest()
    assert accepted(f"t={AT},v1={digest}", body=body)
