"""Signed checkpoints: C2SP tlog-checkpoint bodies in C2SP signed notes with Ed25519 (c2sp.org/tlog-checkpoint,
c2sp.org/signed-note).

    bailiwick/ws_01J...                     origin: which log
    20852163                                size: how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2...     root of the RFC 9162 tree over them

    — bailiwick/ws_01J... Az3grlgtzPICa5OS8npVmf1Myq/...

The key's name is the log's origin. A verifier key, which auditors keep, is `<name>+<key id>+<base64 of type and key>`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bailiwick.kernel import ids

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_MAX_NOTE_BYTES = 65_536
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteInvalid(Exception):
    """A checkpoint, its signature or a key is malformed, or the signature is not that key's."""


def origin_of(organization_id: UUID) -> str:
    """The name of an organization's log, which is the name of its key too."""
    return f"bailiwick/{ids.encode(ids.Prefix.ORGANIZATION, organization_id)}"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """An Ed25519 public key (32 bytes) under the name that signs with it."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart: of SHA-256(name ‖ newline ‖ type ‖ key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Reads what `str` gives. Raises NoteInvalid."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        decoded = _decode_base64(encoded)
        if not _is_key_name(name) or decoded[:1] != _ED25519 or len(decoded) != 33:
            raise NoteInvalid("not a verifier key: <name>+<key id>+<base64 of an Ed25519 key>")
        key = cls(name, decoded[1:])
        if key_id != key.key_id.hex():
            raise NoteInvalid("the verifier key's id does not belong to its name and key: a character is wrong")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: `size` entries under `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note's text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        if any(not line or "\n" in line for line in lines):
            raise NoteInvalid("a line of a checkpoint is empty or holds a line break")
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads a note's text. Raises NoteInvalid."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise NoteInvalid("a checkpoint has an origin, a size and a root, each on its line")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise NoteInvalid(f"the checkpoint's size is no decimal number: {size!r}")
        decoded = _decode_base64(root)
        if len(decoded) != 32:
            raise NoteInvalid("the checkpoint's root is not 32 bytes in base64")
        return cls(origin, int(size), decoded, tuple(extensions))


def sign_note(text: str, name: str, private_key: Ed25519PrivateKey) -> str:
    """`text` as a note signed under `name`. Raises NoteInvalid for a text or name that a note cannot hold."""
    if not text.endswith("\n") or any(ord(character) < 0x20 for character in text.replace("\n", "")):
        raise NoteInvalid("a note's text ends with a line break and holds no other control characters")
    if not _is_key_name(name):
        raise NoteInvalid(f"not a key name: {name!r}")
    key = VerifierKey(name, private_key.public_key().public_bytes_raw())
    signature = base64.b64encode(key.key_id + private_key.sign(text.encode())).decode()
    return f"{text}\n— {name} {signature}\n"


def sign_checkpoint(checkpoint: Checkpoint, private_key: Ed25519PrivateKey) -> str:
    """The checkpoint as a note, signed under its origin."""
    return sign_note(checkpoint.text(), checkpoint.origin, private_key)


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note that `key` signed; signatures of other keys are passed over. Raises NoteInvalid."""
    if len(note.encode()) > _MAX_NOTE_BYTES:
        raise NoteInvalid("the note is too long")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteInvalid("the note has no signature")
    text += "\n"
    signed = False
    for line in signatures[:-1].split("\n"):
        match line.split(" "):
            case ["—", name, encoded]:
                decoded = _decode_base64(encoded)
            case _:
                raise NoteInvalid("a signature line of the note is malformed")
        if name != key.name or decoded[:_KEY_ID_BYTES] != key.key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(decoded[_KEY_ID_BYTES:], text.encode())
        except (InvalidSignature, ValueError):
            raise NoteInvalid("the signature does not fit the text and the key") from None
        signed = True
    if not signed:
        raise NoteInvalid(f"the note is not signed by {key.name} with key {key.key_id.hex()}")
    return text


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that `key` signed under the log's origin. Raises NoteInvalid."""
    checkpoint = Checkpoint.parse(open_note(note, key))
    if checkpoint.origin != key.name:
        raise NoteInvalid(f"the checkpoint is of {checkpoint.origin}, the key is of {key.name}")
    return checkpoint


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and name.isprintable() and not any(map(str.isspace, name))


def _decode_base64(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    # Bits beyond the last byte would make several texts of one value.
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise NoteInvalid("malformed base64 in a note or key")
    return decoded
