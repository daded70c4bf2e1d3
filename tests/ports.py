"""Ports for programs that tests start."""

import random
import socket

_RANGE = range(10_000, 14_000)
"""Below every port of the lab and below the systems' ephemeral ports, which any connection may take at any moment."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on, all distinct, in no order."""
    return [port for port in random.sample(_RANGE, 10 * count) if _is_free(port)][:count]


def free_port() -> int:
    """One loopback port that nothing listens on."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: a port on which only ended connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
