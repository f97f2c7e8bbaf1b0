"""How the tree is stored: in tiles of 256 hashes, as C2SP tlog-tiles divides it.

Tile (l, i) holds the hashes of nodes (8*l, 256*i) up to (8*l, 256*i + 255), 32 bytes each, fewer in the last tile of a
level. So n leaves are n/255 rows and not 2n; the nodes between are computed from at most 256 hashes when a proof asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bailiwick.audit.merkle import Node, root_of

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
HASH_BYTES: Final = 32

Tile = tuple[int, int]
"""(level, index); level 0 tiles hold leaf hashes."""


def tile_of(node: Node) -> Tile:
    """The tile from which a node is computed."""
    level, index = node
    tile_level, height = divmod(level, TILE_HEIGHT)
    return tile_level, (index << height) // TILE_WIDTH


def tiles_of(nodes: Iterable[Node]) -> list[Tile]:
    """The tiles that hold these nodes, each once, in order."""
    return sorted({tile_of(node) for node in nodes})


def nodes_in(nodes: Iterable[Node], tiles: Mapping[Tile, bytes]) -> dict[Node, bytes]:
    """The hashes of complete nodes out of the tiles that hold them. Raises KeyError when a tile or hash is missing."""
    found = {}
    for level, index in nodes:
        height = level % TILE_HEIGHT
        begin = (index << height) % TILE_WIDTH * HASH_BYTES
        packed = tiles[tile_of((level, index))][begin : begin + (HASH_BYTES << height)]
        if len(packed) != HASH_BYTES << height:
            raise KeyError((level, index))
        found[level, index] = root_of(_unpack(packed))
    return found


def edge_tiles(size: int) -> list[Tile]:
    """The unfilled tiles at the right edge of a tree: what `append` needs in order to go on."""
    tiles, level = [], 0
    while size:
        if size % TILE_WIDTH:
            tiles.append((level, size // TILE_WIDTH))
        size, level = size // TILE_WIDTH, level + 1
    return tiles


def append(size: int, edge: Mapping[Tile, bytes], leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """The tiles that change when leaf hashes join a tree of `size` leaves with these `edge_tiles`. O(len(leaves))."""
    changed: dict[Tile, bytes] = {}
    level, position, hashes = 0, size, list(leaves)
    while hashes:
        completed = []
        while hashes:
            tile = level, position // TILE_WIDTH
            room = TILE_WIDTH - position % TILE_WIDTH
            taken, hashes = hashes[:room], hashes[room:]
            changed[tile] = (edge[tile] if position % TILE_WIDTH else b"") + b"".join(taken)
            position += len(taken)
            if position % TILE_WIDTH == 0:
                completed.append(root_of(_unpack(changed[tile])))
        level, position, hashes = level + 1, size // TILE_WIDTH, completed
        size = position
    return changed


def _unpack(packed: bytes) -> list[bytes]:
    return [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]
