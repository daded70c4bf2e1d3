"""Whether the ports that a part wants are free, and who holds them."""

import errno
import socket
from collections.abc import Mapping

import psutil

from lab.errors import LabError


def taken(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        # As servers do: a connection that lingers from an earlier run does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def holder(port: int) -> str:
    """Who listens on the port, in words; other users' programs may not be nameable."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            if connection.laddr[1] == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def require_free(wanted: Mapping[int, str]) -> None:
    """Make sure that ports can be listened on.

    Args:
        wanted: Who wants it, by port.

    Raises:
        LabError: One is taken; the message names the port, who wants it and who holds it.
    """
    for port, part in wanted.items():
        if taken(port):
            raise LabError(f"Port {port}, which {part} needs, is held by {holder(port)}; stop that and try again.")
