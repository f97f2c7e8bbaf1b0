"""The tree against the reference vectors of Certificate Transparency and the recursive definitions of RFC 9162."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bailiwick.audit import merkle, tiles
from bailiwick.audit.merkle import EMPTY_ROOT, Node, Range, leaf_hash, node_hash, root_of

# The leaves and roots with which implementations of RFC 6962 have tested each other since its first one.
REFERENCE_LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
REFERENCE_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

LEAVES = [leaf_hash(number.to_bytes(2)) for number in range(700)]
NODES: dict[Node, bytes] = {(0, index): leaf for index, leaf in enumerate(LEAVES)}
for _level in range(1, 10):
    for _index in range(len(LEAVES) >> _level):
        NODES[_level, _index] = node_hash(NODES[_level - 1, 2 * _index], NODES[_level - 1, 2 * _index + 1])


def proof_of(plan: list[Range]) -> list[bytes]:
    """The proof of a plan, from no other nodes than those that it asks for."""
    return merkle.fold(plan, {node: NODES[node] for node in merkle.nodes_of(plan)})


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    split = merkle._split(len(leaves))
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def defined_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = merkle._split(len(leaves))
    if index < split:
        return [*defined_path(index, leaves[:split]), defined_root(leaves[split:])]
    return [*defined_path(index - split, leaves[split:]), defined_root(leaves[:split])]


def defined_proof(first: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162 §2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [defined_root(leaves)]
    split = merkle._split(len(leaves))
    if first <= split:
        return [*defined_proof(first, leaves[:split], whole), defined_root(leaves[split:])]
    return [*defined_proof(first - split, leaves[split:], False), defined_root(leaves[:split])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_reference_roots(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(data)) for data in REFERENCE_LEAVES[:size]]
    assert root_of(leaves).hex() == REFERENCE_ROOTS[size]


def test_a_growing_tree_has_the_defined_root_at_every_size() -> None:
    frontier = merkle.Frontier()
    for size in range(201):
        assert frontier.root() == defined_root(LEAVES[:size])
        resumed = merkle.Frontier(size, [NODES[node] for node in merkle.range_nodes(0, size)])
        assert resumed.hashes == frontier.hashes
        frontier.append(LEAVES[size])


@given(st.data(), st.integers(1, 200))
def test_every_leaf_is_proved_and_nothing_else(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = root_of(LEAVES[:size])
    proof = proof_of(merkle.inclusion_ranges(index, size))
    assert proof == defined_path(index, LEAVES[:size])
    assert merkle.verify_inclusion(LEAVES[index], index, size, proof, root)

    other = data.draw(st.integers(0, size + 1).filter(lambda number: number != index))
    assert not merkle.verify_inclusion(LEAVES[other], index, size, proof, root)
    assert not merkle.verify_inclusion(LEAVES[index], other, size, proof, root)
    assert not merkle.verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
    assert not merkle.verify_inclusion(LEAVES[index], index, size, proof, EMPTY_ROOT)
    if proof:
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof[:-1], root)
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof[1:], root)
        spoiled = data.draw(st.integers(0, len(proof) - 1))
        assert not merkle.verify_inclusion(
            LEAVES[index], index, size, [*proof[:spoiled], EMPTY_ROOT, *proof[spoiled + 1 :]], root
        )


def test_every_pair_of_sizes_is_consistent_and_no_fork_is() -> None:
    roots = [root_of(LEAVES[:size]) for size in range(66)]
    for second in range(65):
        for first in range(second + 1):
            proof = proof_of(merkle.consistency_ranges(first, second))
            if 0 < first < second:
                assert proof == defined_proof(first, LEAVES[:second])
            assert merkle.verify_consistency(first, second, proof, roots[first], roots[second])
            # a fork: the newer tree begins with other leaves
            assert not merkle.verify_consistency(first, second, proof, roots[first + 1], roots[second])
            assert not merkle.verify_consistency(first, second, [*proof, EMPTY_ROOT], roots[first], roots[second])
            if first:
                assert not merkle.verify_consistency(first, second, proof, roots[first], roots[second + 1])
            if proof:
                assert not merkle.verify_consistency(first, second, proof[:-1], roots[first], roots[second])
                spoiled = [*proof[:-1], EMPTY_ROOT]
                assert not merkle.verify_consistency(first, second, spoiled, roots[first], roots[second])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_ranges(index, size)
    assert not merkle.verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("first", "second"), [(6, 5), (-1, 5)])
def test_a_larger_tree_is_not_within_a_smaller_one(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        merkle.consistency_ranges(first, second)
    assert not merkle.verify_consistency(first, second, [], EMPTY_ROOT, EMPTY_ROOT)


@given(st.lists(st.integers(0, 300), max_size=6).filter(lambda steps: sum(steps) <= len(LEAVES)))
def test_tiles_hold_every_node_however_the_log_grew(steps: list[int]) -> None:
    stored: dict[tiles.Tile, bytes] = {}
    size = 0
    for step in steps:
        edge = {tile: stored[tile] for tile in tiles.edge_tiles(size)}
        stored |= tiles.append(size, edge, LEAVES[size : size + step])
        size += step
    nodes = [(level, index) for level in range(10) for index in range(size >> level)]
    assert tiles.nodes_in(nodes, stored) == {node: NODES[node] for node in nodes}
    assert len(stored) == -(-size // 256) + (size >= 256)


def test_a_missing_hash_is_not_taken_for_a_node() -> None:
    stored = tiles.append(0, {}, LEAVES[:3])
    with pytest.raises(KeyError):
        tiles.nodes_in([(0, 3)], stored)
    with pytest.raises(KeyError):
        tiles.nodes_in([(1, 1)], stored)
    with pytest.raises(KeyError):
        tiles.nodes_in([(8, 0)], stored)
