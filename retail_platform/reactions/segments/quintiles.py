"""Quintiles as SQL's ``ntile(5) over (order by x, customer_id)`` gives them, and the cut-offs that give them again.

A cut-off is the first (value, customer_id) of its tile, not the value alone: so customers with the same value fall on the
same sides of it as in the nightly table, and whoever has not changed since is in the same tile.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

TILES = 5

#: A customer's place in an order: its value, then its id, compared by code points as DuckDB and Snowflake do.
Place = tuple[Decimal, str]


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The first places of the tiles from the second on, of each measure, and the ``version`` of the table they are from.

    At most four each; fewer when there are fewer customers than tiles. ``recency`` in days, ``frequency`` in orders,
    ``monetary`` in US dollars, each in ascending order.
    """

    version: str
    recency: tuple[Place, ...]
    frequency: tuple[Place, ...]
    monetary: tuple[Place, ...]


def cutoffs(places: Iterable[Place]) -> tuple[Place, ...]:
    """The cut-offs of a measure: the first n mod 5 tiles have one customer more than the others."""
    ordered = sorted(places)
    size, larger = divmod(len(ordered), TILES)
    starts = (tile * size + min(tile, larger) for tile in range(1, TILES))
    return tuple(ordered[start] for start in starts if start < len(ordered))


def tile(bounds: tuple[Place, ...], place: Place) -> int:
    """The tile of a place, from 1: as many as there are cut-offs at or below it, and one."""
    return bisect.bisect_right(bounds, place) + 1
