"""Which addresses processes listen on, from ``/proc``."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"


def listening(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which one of the processes accepts connections."""
    mine = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in mine:
                address, port = fields[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def open_to_others(sockets: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those that another machine could reach."""
    return sorted(socket for socket in sockets if not _loopback(socket[0]))


def _sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    found.add(target[len("socket:[") : -1])
    return found


def _address(hexadecimal: str) -> str:
    """The kernel writes each word of four bytes in the machine's own order."""
    words = [bytes.fromhex(hexadecimal[start : start + 8])[::-1] for start in range(0, len(hexadecimal), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _loopback(address: str) -> bool:
    given = ipaddress.ip_address(address)
    mapped = given.ipv4_mapped if isinstance(given, ipaddress.IPv6Address) else None
    return (mapped or given).is_loopback
