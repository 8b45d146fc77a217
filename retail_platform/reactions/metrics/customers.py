"""How many customers are distinct: exact while they are few, then a HyperLogLog of about the same size.

Customers are 64-bit hashes of their ids. HyperLogLog: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog: the analysis of a
near-optimal cardinality estimation algorithm" (2007), with its linear counting for small counts; its correction for
large ones is not needed with 64 bits. Its standard error is 1.04 / √2048 = 2.3 %.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

#: Counted exactly up to here. 256 hashes of 8 bytes take what the 2,048 registers take: a cell never grows past 2 KiB.
MOST_EXACT = 256

_INDEX_BITS = 11
_REGISTERS = 1 << _INDEX_BITS
_REST_BITS = 64 - _INDEX_BITS
_ALPHA = 0.7213 / (1 + 1.079 / _REGISTERS)
_LINEAR_UP_TO = 2.5 * _REGISTERS


def customer_hash(customer_id: str) -> int:
    """64 bits of a customer's id, the same on every machine."""
    return int.from_bytes(blake2b(customer_id.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Customers:
    """The distinct customers of a cell: their hashes, or the registers once they are over :data:`MOST_EXACT`."""

    hashes: frozenset[int] = frozenset()
    registers: bytes = b""

    @property
    def exact(self) -> bool:
        """Whether :meth:`count` is exact rather than an estimate."""
        return not self.registers

    def count(self) -> int:
        """How many there are; an estimate when not :attr:`exact`."""
        return len(self.hashes) if self.exact else _estimate(self.registers)

    def added(self, hashes: Iterable[int]) -> Customers:
        """These and those. The order of additions does not matter, nor does adding one again."""
        if self.exact:
            together = self.hashes.union(hashes)
            if len(together) <= MOST_EXACT:
                return Customers(together)
            return Customers(registers=_registered(bytes(_REGISTERS), together))
        return Customers(registers=_registered(self.registers, hashes))

    def packed(self) -> dict[str, Any]:
        """As JSON: bytes in base 64."""
        data = self.registers or b"".join(found.to_bytes(8, "big") for found in sorted(self.hashes))
        return {"exact": self.exact, "data": base64.b64encode(data).decode("ascii")}


def unpacked(packed: dict[str, Any]) -> Customers:
    """What :meth:`Customers.packed` wrote."""
    data = base64.b64decode(packed["data"])
    if not packed["exact"]:
        return Customers(registers=data)
    return Customers(frozenset(int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data), 8)))


def _registered(registers: bytes, hashes: Iterable[int]) -> bytes:
    changed = bytearray(registers)
    for found in hashes:
        index, rest = found >> _REST_BITS, found & ((1 << _REST_BITS) - 1)
        changed[index] = max(changed[index], _REST_BITS - rest.bit_length() + 1)
    return bytes(changed)


def _estimate(registers: bytes) -> int:
    raw = _ALPHA * _REGISTERS**2 / sum(registers.count(rank) * 2.0**-rank for rank in range(_REST_BITS + 2))
    empty = registers.count(0)
    if raw <= _LINEAR_UP_TO and empty:
        return round(_REGISTERS * math.log(_REGISTERS / empty))
    return round(raw)
