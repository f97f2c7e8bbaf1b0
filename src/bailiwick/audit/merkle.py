"""The Merkle tree of RFC 9162 §2.1 over SHA-256: root, inclusion and consistency proofs, and their verification.

Nothing here stores or reads. What a proof needs is planned first, as ranges of leaves; each range is a fold of complete
subtrees ("nodes"), named by level and index: node (l, i) is the root over leaves i*2^l up to (i+1)*2^l. So a caller
fetches the nodes of a whole plan at once (`nodes_of`, O(log n) of them) and folds them (`fold`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

Node = tuple[int, int]
"""(level, index) of a complete subtree; level 0 are the leaf hashes."""
Range = tuple[int, int]
"""First leaf (included) and last leaf (excluded)."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The root of a growing tree in O(log n) memory: the roots of the complete subtrees that cover it, widest first."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """`hashes` are those of `range_nodes(0, size)`. Raises ValueError when their number does not fit `size`."""
        self.size = size
        self.hashes = list(hashes)
        if size < 0 or len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves is covered by {size.bit_count()} subtrees")

    def append(self, leaf: bytes) -> None:
        """Takes the next leaf hash."""
        self.hashes.append(leaf)
        size = self.size
        while size & 1:  # as many subtrees complete a wider one as the size has trailing one bits
            right = self.hashes.pop()
            self.hashes[-1] = node_hash(self.hashes[-1], right)
            size >>= 1
        self.size += 1

    def root(self) -> bytes:
        """The tree's root (RFC 9162 §2.1.1)."""
        return _fold_right(self.hashes) if self.hashes else EMPTY_ROOT


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def _fold_right(hashes: Sequence[bytes]) -> bytes:
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


def _split(size: int) -> int:
    """The largest power of two smaller than `size`: where RFC 9162 divides a tree."""
    return 1 << (size - 1).bit_length() - 1


def range_nodes(begin: int, end: int) -> list[Node]:
    """The complete subtrees that cover a range of a tree, left to right.

    `begin` must be a multiple of the least power of two that is not below `end - begin`, as in every range of a plan.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The plan of an inclusion proof (RFC 9162 §2.1.3.1). Raises ValueError unless 0 <= index < size."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    begin, end, ranges = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The plan of a consistency proof (RFC 9162 §2.1.4.1), empty when `first` is 0 or equals `second`.

    Raises ValueError unless 0 <= first <= second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} is not within one of {second}")
    if first in (0, second):
        return []
    begin, end, ranges = 0, second, []
    while end != first:
        middle = begin + _split(end - begin)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    if begin:  # when the older tree is one complete subtree from the left edge, its root is known to the verifier
        ranges.append((begin, end))
    return ranges[::-1]


def nodes_of(plan: Iterable[Range]) -> list[Node]:
    """Every node that `fold` needs for a plan."""
    return [node for begin, end in plan for node in range_nodes(begin, end)]


def fold(plan: Iterable[Range], nodes: Mapping[Node, bytes]) -> list[bytes]:
    """The proof of a plan: one hash for each range."""
    return [_fold_right([nodes[node] for node in range_nodes(begin, end)]) for begin, end in plan]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash stands at `index` of the tree with this size and root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, reached = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            reached = node_hash(sibling, reached)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            reached = node_hash(reached, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and reached == root


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether the tree of `second` leaves begins with the tree of `first` leaves (RFC 9162 §2.1.4.2).

    Beyond the RFC, which leaves these out: equal sizes need equal roots, and every tree begins with the empty one.
    """
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and older == first_root and newer == second_root
