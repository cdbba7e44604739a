"""Listening sockets of a node, from `ss -ltnu` with or without header and process column."""

from __future__ import annotations

import re

from kdiag.model.addresses import Family, parse_address
from kdiag.model.host import ListeningSocket
from kdiag.model.snapshot import Recording

_PROCESS = re.compile(r'users:\(\("([^"]*)"')
_PROTOCOLS = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "tcp6": "tcp", "udp6": "udp"}
_STATES = frozenset({"LISTEN", "UNCONN", "ESTAB"})
_OTHER_NETIDS = frozenset({"nl", "u_str", "u_dgr", "u_seq", "p_raw", "p_dgr", "v_str", "v_dgr", "icmp6", "raw", "???"})


def parse_sockets(recording: Recording) -> tuple[tuple[ListeningSocket, ...], tuple[str, ...]]:
    """Sockets in a stable order, and the lines that were not understood.

    Without the Netid column (`ss -ltn`) a socket is TCP. `*:80` serves both families (an IPv6 socket that is not
    v6only), `0.0.0.0:80` and `[::]:80` one; iproute2 before 4.17 writes `:::80` for both kinds of IPv6 socket, which
    is read as both families.
    """
    sockets: set[ListeningSocket] = set()
    unread: list[str] = []
    for line in recording.text().split("\n"):
        cells = line.split()
        if not cells or cells[0] in ("Netid", "State") or cells[0] in _OTHER_NETIDS:
            continue
        socket = _parse_line(line, cells)
        if socket is None:
            unread.append(line.strip())
        else:
            sockets.add(socket)
    return tuple(sorted(sockets, key=_order)), tuple(unread)


def _order(socket: ListeningSocket) -> tuple[str, int, int, int, str, str]:
    version, value = (socket.address.version, int(socket.address)) if socket.address is not None else (0, 0)
    return (socket.protocol, socket.port, version, value, ",".join(socket.wildcard_families), socket.process or "")


def _parse_line(line: str, cells: list[str]) -> ListeningSocket | None:
    protocol = "tcp"
    if cells[0] in _PROTOCOLS:
        protocol = _PROTOCOLS[cells[0]]
        cells = cells[1:]
    if len(cells) < 4 or cells[0] not in _STATES:
        return None
    host, _, port_text = cells[3].rpartition(":")
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) < 20) or int(port_text) > 65535:
        return None
    process = _PROCESS.search(line)
    process_name = process.group(1) if process else None
    port = int(port_text)
    families = _wildcard(host.partition("%")[0])
    if families:
        return ListeningSocket(
            protocol=protocol, address=None, port=port, wildcard_families=families, process=process_name
        )
    address = parse_address(host)
    if address is None:
        return None
    return ListeningSocket(protocol=protocol, address=address, port=port, process=process_name)


def _wildcard(host: str) -> tuple[Family, ...]:
    match host:
        case "*" | "::":
            return (Family.IPV4, Family.IPV6)
        case "0.0.0.0":
            return (Family.IPV4,)
        case "[::]":
            return (Family.IPV6,)
        case _:
            return ()
