"""Ports for servers of a laptop that must not meet those of others."""

from __future__ import annotations

import contextlib
import socket

from retail_platform.errors import RetailError

_TRIES = 50


def free_port_pair() -> int:
    """A loopback port that is free together with the next one, as the embedded broker needs (clients, controller).

    Raises:
        RetailError: there are none.
    """
    for _ in range(_TRIES):
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            second.bind(("127.0.0.1", port + 1))
            return port
    raise RetailError("no two free ports in a row on 127.0.0.1; close something and try again")
