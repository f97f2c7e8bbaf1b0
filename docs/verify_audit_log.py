#!/usr/bin/env python3
"""Verify an exported Bailiwick audit log, offline.

    python verify_audit_log.py LOG.jsonl --key KEY [--checkpoint SAVED.txt ...] [--partial]

KEY is the log's verifier key, which you should have got from the organization and not from the file. SAVED.txt is a
signed checkpoint of the same log that you kept from an earlier audit. The exit status is 0 when everything holds, 1
when the log is broken (the first fault is printed), 2 when the command is wrong.

This file uses nothing of Bailiwick: only Python's standard library and the `cryptography` package, for Ed25519. It is
meant to be read before it is trusted. What it checks, in this order:

 1. Each entry belongs to the organization, and its `sequence` is one more than that of the entry before.
 2. `prev_hash` is the `row_hash` of the entry before in the same chain ("runs" or "activity"), 64 zeros in the first.
 3. `row_hash` is SHA-256(prev_hash as hex text ‖ body as UTF-8).
 4. `body` is a JSON object in the canonical form of RFC 8785, and its `id` is that of the entry.
 5. The root of the Merkle tree (RFC 9162, section 2.1) over all entries is the one in the signed checkpoint.
 6. The checkpoint (c2sp.org/tlog-checkpoint) is signed by KEY (Ed25519, c2sp.org/signed-note).
 7. The root at the size of each saved checkpoint is the one that was signed then: nothing before it has changed.

What nobody can check here: entries that were never appended, and a log that was rewritten from its beginning by a
holder of the private key, unless you kept an earlier checkpoint. So keep the checkpoint of every audit.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = {"sequence", "chain", "id", "organization_id", "prev_hash", "row_hash", "body"}
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Broken(Exception):
    """The log does not hold."""


def require(condition, message):
    if not condition:
        raise Broken(message)


def sha256(data):
    return hashlib.sha256(data).digest()


# --- The Merkle tree -------------------------------------------------------------------------------------------------


class Tree:
    """The tree so far, as the roots of the complete subtrees that cover it from the left, widest first.

    A tree of 13 leaves is covered by subtrees of 8, 4 and 1: the binary digits of its size.
    """

    def __init__(self, size, roots):
        self.size, self.roots = size, list(roots)
        require(len(self.roots) == bin(size).count("1"), "header: `left` does not fit `first`")

    def append(self, leaf):
        self.roots.append(sha256(b"\x00" + leaf))
        self.size += 1
        width = self.size
        while width % 2 == 0:  # two subtrees of equal width become one
            right, left = self.roots.pop(), self.roots.pop()
            self.roots.append(sha256(b"\x01" + left + right))
            width //= 2

    def root(self):
        if not self.roots:
            return sha256(b"")
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = sha256(b"\x01" + left + root)
        return root


def leaf_of(entry):
    """Every field of the entry except the body, for which row_hash stands, as canonical JSON."""
    return canonical({name: value for name, value in entry.items() if name != "body"}).encode()


# --- Canonical JSON (RFC 8785) ---------------------------------------------------------------------------------------


def canonical(value):
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)  # strings, integers, true, false, null


def number(value):
    """A fraction as ECMAScript writes it: the shortest digits, plain from 1e-6 up to 1e21, else with an exponent."""
    require(abs(value) < float("inf"), "body: not a number of JSON")
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, exponent = f"{Decimal(repr(value)).normalize():e}".split("e")
    return f"{digits}e{int(exponent):+d}"


def public_id(prefix, identifier):
    """A UUID as it is shown: a prefix and its 128 bits in Crockford's base 32."""
    return prefix + "_" + "".join(CROCKFORD[UUID(identifier).int >> shift & 31] for shift in range(125, -1, -5))


# --- Signed notes ----------------------------------------------------------------------------------------------------


def read_key(text):
    """(name, key id, public key) of a verifier key: <name>+<key id>+<base64 of 0x01 and the Ed25519 key>."""
    name, key_id, encoded = text.strip().split("+", 2)
    decoded = base64.b64decode(encoded, validate=True)
    if len(decoded) != 33 or decoded[0] != 1 or sha256(name.encode() + b"\n" + decoded)[:4].hex() != key_id:
        raise ValueError("not an Ed25519 verifier key, or a character of it is wrong")
    return name, bytes.fromhex(key_id), decoded[1:]


def read_checkpoint(note, key):
    """(size, root) of a checkpoint that the key has signed."""
    name, key_id, public_key = key
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    signed = False
    try:
        for line in signatures.splitlines():
            dash, signer, encoded = line.split(" ")
            signature = base64.b64decode(encoded, validate=True)
            if (dash, signer, signature[:4]) == ("—", name, key_id):
                Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], text.encode())
                signed = True
        require(signed, f"signature: the checkpoint is not signed by {name}")
        origin, size, root = text.split("\n")[:3]
        require(origin == name, f"signature: the checkpoint is of another log, {origin}")
        return int(size), base64.b64decode(root, validate=True)
    except InvalidSignature:
        raise Broken("signature: the signature of the checkpoint is not that of this text by this key") from None
    except ValueError:
        raise Broken("signature: the checkpoint is malformed") from None


# --- The log ---------------------------------------------------------------------------------------------------------


def read_json(line, what):
    def unique(pairs):
        require(len(dict(pairs)) == len(pairs), f"{what}: a name occurs twice")
        return dict(pairs)

    try:
        value = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise Broken(f"{what}: not JSON") from None
    require(isinstance(value, dict), f"{what}: not an object")
    return value


def check_entry(entry, organization, sequence, last_hash):
    """Checks one entry. `last_hash` is the row_hash before it in its chain; None: it lies before a partial export."""
    what = f"entry {sequence} ({entry.get('id')})"
    require(entry.keys() == FIELDS, f"{what}: line: fields are missing or unknown")
    texts = {name: value for name, value in entry.items() if name != "sequence"}
    require(all(isinstance(value, str) for value in texts.values()), f"{what}: line: a field is no text")
    require(type(entry["sequence"]) is int and entry["sequence"] == sequence, f"{what}: sequence: {entry['sequence']}")
    for name in ("id", "organization_id"):
        require(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", entry[name]), f"{what}: line: {name}")
    require(public_id("ws", entry["organization_id"]) == organization, f"{what}: organization: another one")
    require(last_hash in (None, entry["prev_hash"]), f"{what}: link: prev_hash is not the row_hash before, {last_hash}")
    computed = hashlib.sha256((entry["prev_hash"] + entry["body"]).encode()).hexdigest()
    require(entry["row_hash"] == computed, f"{what}: row_hash: not the SHA-256 of prev_hash and body")
    body = read_json(entry["body"], f"{what}: body")
    require(canonical(body) == entry["body"], f"{what}: body: not in canonical form")
    require(body.get("id") == public_id("aud", entry["id"]), f"{what}: id: the body is that of {body.get('id')}")


def verify(lines, key, saved=(), partial=False):
    """Returns a sentence about what holds; raises Broken at the first fault. `saved`: (size, root) pairs."""
    lines = iter(lines)
    header = read_json(next(lines, b""), "header")
    require((header.get("format"), header.get("version")) == ("bailiwick-audit-log", 1), "header: unknown format")
    try:
        organization, first, signer = header["organization"], header["first"], read_key(header["verifier_key"])
        require(type(first) is int and first >= 0, "header: `first` is no number of an entry")
        tree = Tree(first, map(bytes.fromhex, header["left"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Broken("header: a field is missing or malformed") from None
    require(signer == key, "header: the file names another key than the one given")
    require(key[0] == f"bailiwick/{organization}", f"header: the key is not that of {organization}")
    require(partial or not first, f"header: the export begins at entry {first} and not at the first (see --partial)")
    last_hash = dict.fromkeys(("runs", "activity"), None if first else "0" * 64)
    roots = {tree.size: tree.root()}  # the root at every size that a checkpoint asks for
    wanted = {size for size, _ in saved}

    checkpoint = None
    for line in lines:
        require(checkpoint is None, "end: something follows the checkpoint")
        entry = read_json(line, f"entry {tree.size}: line")
        if "checkpoint" in entry:
            checkpoint = read_checkpoint(str(entry["checkpoint"]), key)
            continue
        require(entry.get("chain") in ("runs", "activity"), f"entry {tree.size}: line: unknown chain")
        check_entry(entry, organization, tree.size, last_hash[entry["chain"]])
        last_hash[entry["chain"]] = entry["row_hash"]
        tree.append(leaf_of(entry))
        if tree.size in wanted:
            roots[tree.size] = tree.root()
    for size, root in saved:  # before the file's own checkpoint: a fork shows here first
        require(size >= first, f"consistency: a saved checkpoint of {size} entries lies before this partial export")
        require(size <= tree.size, f"consistency: a saved checkpoint has {size} entries, the log only {tree.size}")
        require(roots[size] == root, f"consistency: the first {size} entries are not those of the saved checkpoint")
    require(checkpoint is not None, "end: the file ends without its signed checkpoint: it was cut")
    size, root = checkpoint
    require(size == tree.size == header.get("size"), f"size: {size} entries are signed, the file ends at {tree.size}")
    require(root == tree.root(), "root: the entries are not those that were signed")
    return f"{organization}: entries {first} to {size} hold, under the signed root {root.hex()}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verify an exported Bailiwick audit log, offline.")
    parser.add_argument("log", help="the export, JSON lines")
    parser.add_argument("--key", required=True, help="the verifier key, or a file that holds it")
    parser.add_argument("--checkpoint", action="append", default=[], help="a saved checkpoint (may be repeated)")
    parser.add_argument("--partial", action="store_true", help="accept an export that does not begin at entry 0")
    options = parser.parse_args(arguments)
    try:
        key_text = options.key
        key = read_key(key_text if key_text.count("+") > 1 else Path(key_text).read_text("utf-8"))
        notes = [Path(name).read_bytes().decode() for name in options.checkpoint]
        with Path(options.log).open("rb") as log:
            holds = verify(log, key, [read_checkpoint(note, key) for note in notes], options.partial)
    except Broken as problem:
        sys.stderr.write(f"BROKEN: {problem}\n")
        return 1
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    sys.stdout.write(f"{holds}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
