"""Keys and sealed values: the installation key, AES-256-GCM envelopes, token hashes.

The installation key is 32 random bytes, from `BAILIWICK_MASTER_KEY` (base64) or a file of mode 0600 in the data folder.
Keys for each purpose are derived from it with HKDF-SHA256 (RFC 5869), so that no two purposes share a key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bailiwick.kernel.errors import Misconfigured

_VERSION = b"\x01"
_NONCE_BYTES = 12
_MASTER_KEY_BYTES = 32


class SealBroken(Exception):
    """A sealed value was made with another key, for another place, or was changed."""


class Sealer:
    """Seals values for one purpose. `context` (such as organisation and row) is authenticated, not stored."""

    def __init__(self, master_key: bytes, purpose: str) -> None:
        derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"bailiwick:{purpose}".encode())
        self._cipher = AESGCM(derived.derive(master_key))

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """version (1) ‖ nonce (12) ‖ ciphertext and tag (AES-256-GCM)."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plaintext. Raises SealBroken."""
        if sealed[:1] != _VERSION:
            raise SealBroken("unknown version of a sealed value")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, context.encode())
        except InvalidTag:
            raise SealBroken("a sealed value does not open with this key in this place") from None


def load_master_key(data_dir: Path, configured: str | None) -> bytes:
    """The installation key: as configured (base64 of 32 bytes), else the data folder's, made at the first start.
    Raises Misconfigured."""
    if configured:
        return _master_key(configured, "BAILIWICK_MASTER_KEY")
    path = data_dir / "master.key"
    data_dir.mkdir(parents=True, exist_ok=True)
    # O_EXCL decides between two processes that start together: the loser reads what the winner wrote.
    with contextlib.suppress(FileExistsError):
        temporary = data_dir / f".master.key.{os.getpid()}"
        temporary.write_bytes(base64.b64encode(secrets.token_bytes(_MASTER_KEY_BYTES)) + b"\n")
        temporary.chmod(0o600)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink()
    return _master_key(path.read_bytes(), str(path))


def _master_key(encoded: str | bytes, where: str) -> bytes:
    try:
        key = base64.b64decode(encoded)
    except ValueError:
        key = b""
    if len(key) != _MASTER_KEY_BYTES:
        raise Misconfigured(f"{where}: must be the base64 of {_MASTER_KEY_BYTES} bytes")
    return key


def hash_token(token: str) -> bytes:
    """SHA-256 of a random token of at least 128 bits: such a token needs no slow hash, and the hash can be indexed."""
    return hashlib.sha256(token.encode()).digest()


def same(left: str | bytes, right: str | bytes) -> bool:
    """Compares secrets in constant time."""
    return hmac.compare_digest(
        left.encode() if isinstance(left, str) else left, right.encode() if isinstance(right, str) else right
    )
