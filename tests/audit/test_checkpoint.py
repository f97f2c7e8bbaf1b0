"""Signed notes and checkpoints, among them the examples of the C2SP specifications' own reference implementation."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bailiwick.audit.checkpoint import (
    Checkpoint,
    NoteInvalid,
    VerifierKey,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)

# The example key and note of golang.org/x/mod/sumdb/note, from which c2sp.org/signed-note was specified.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "bailiwick/ws_0"
KEY = VerifierKey(ORIGIN, PRIVATE_KEY.public_key().public_bytes_raw())
HEAD = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))


def test_a_note_of_the_reference_implementation_opens() -> None:
    key = VerifierKey.parse(PETER)
    assert str(key) == PETER
    assert open_note(PETERS_NOTE, key) == PETERS_NOTE.partition("\n\n")[0] + "\n"


def test_a_checkpoint_reads_as_it_was_signed() -> None:
    note = sign_checkpoint(HEAD, PRIVATE_KEY)
    assert note.startswith(
        "bailiwick/ws_0\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— bailiwick/ws_0 "
    )
    assert open_checkpoint(note, KEY) == HEAD
    assert VerifierKey.parse(f"{KEY}\n") == KEY


def test_signatures_of_others_are_passed_over() -> None:
    witness = sign_note(HEAD.text(), "witness.example", Ed25519PrivateKey.generate()).rpartition("\n\n")[2]
    note = sign_checkpoint(HEAD, PRIVATE_KEY)
    assert open_checkpoint(note + witness, KEY) == HEAD
    with pytest.raises(NoteInvalid, match="not signed by"):
        open_checkpoint(f"{HEAD.text()}\n{witness}", KEY)


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_changed_character_is_found(place: int) -> None:
    note = sign_checkpoint(HEAD, PRIVATE_KEY)
    changed = note[:place] + chr(ord(note[place]) ^ 1) + note[place + 1 :]
    with pytest.raises(NoteInvalid):
        open_checkpoint(changed, KEY)


def test_another_key_of_the_same_name_does_not_open_it() -> None:
    other = VerifierKey(ORIGIN, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    with pytest.raises(NoteInvalid, match="not signed by"):
        open_checkpoint(sign_checkpoint(HEAD, PRIVATE_KEY), other)


def test_a_checkpoint_of_another_log_is_refused_although_signed() -> None:
    note = sign_note(Checkpoint("bailiwick/ws_1", 1, bytes(32)).text(), ORIGIN, PRIVATE_KEY)
    with pytest.raises(NoteInvalid, match="is of bailiwick/ws_1"):
        open_checkpoint(note, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "origin\n1\nAAEC\n",
        "origin\n1\nnot base64\n",
        "\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n",
        "origin\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+00000000", f"{str(KEY)[:-5]}AAAA=", str(KEY).replace("+", "++", 1), "a b+00000000+AQ=="],
)
def test_a_malformed_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    ("text", "name"), [("no line break", "a"), ("tab\t\n", "a"), ("text\n", ""), ("text\n", "a b"), ("text\n", "a+b")]
)
def test_what_a_note_cannot_hold_is_not_signed(text: str, name: str) -> None:
    with pytest.raises(NoteInvalid):
        sign_note(text, name, PRIVATE_KEY)


def test_a_line_break_cannot_be_smuggled_into_a_checkpoint() -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint("origin\n999", 1, bytes(32)).text()
