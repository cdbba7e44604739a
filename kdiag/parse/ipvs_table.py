"""What the readers of the three forms of an IPVS table share: values, and the table as it grows line by line."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from msgspec import structs

from kdiag.errors import ParseError
from kdiag.model.addresses import Protocol, SocketAddress, parse_address
from kdiag.model.ipvs import Forwarding, IpvsTable, RealServer, VirtualServer
from kdiag.model.rules import UnreadLine
from kdiag.parse.service_names import port_number

_HOST_PORT = re.compile(r"(\[[^\]\s]+\]|[^\[\]:\s]+):([^:\s]+)")
PROTOCOL_NAMES = frozenset(str(item) for item in Protocol)
"""How listings name protocols."""
_HEADING = "Prot LocalAddress:Port Scheduler Flags".split()
_REAL_HEADING = "-> RemoteAddress:Port Forward Weight ActiveConn InActConn".split()


class UnreadableError(Exception):
    """A line that is not in the grammar. The message says why; never leaves the parser."""


class TableBuilder:
    """Collects virtual servers, their real servers and the lines that were not understood."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._servers: list[VirtualServer] = []
        self._reals: list[list[RealServer]] = []
        self._unread: list[UnreadLine] = []

    def add_server(self, server: VirtualServer) -> int:
        """A new virtual server. Returns the index to add its real servers by."""
        self._servers.append(server)
        self._reals.append([])
        return len(self._servers) - 1

    def add_real(self, real: RealServer, index: int) -> None:
        """A real server of the virtual server at `index`."""
        self._reals[index].append(real)

    def unread(self, number: int, text: str, reason: str) -> None:
        """A line that is lost."""
        self._unread.append(UnreadLine(line=number, text=text, reason=reason))

    def table(self, text: str) -> IpvsTable:
        """What was collected. `text` is all that was read: a last line that was cut off makes the table incomplete."""
        last = text.rstrip("\n").count("\n") + 1
        cut = not text.endswith("\n") and any(line.line == last for line in self._unread)
        return IpvsTable(
            source=self._source,
            servers=tuple(
                structs.replace(server, real_servers=tuple(reals))
                for server, reals in zip(self._servers, self._reals, strict=True)
            ),
            unread=tuple(self._unread),
            complete=not cut,
        )

    def refuse_other(self, command: str) -> None:
        """Raise ParseError if nothing but lines that were not understood was read."""
        if self._unread and not self._servers:
            raise other_output(self._source, command, self._unread[0].line)


def other_output(source: str, command: str, line: int) -> ParseError:
    """The error for text that something else printed."""
    return ParseError(
        f"{source} is not the output of {command}",
        hint=f"It ought to be what `{command}` prints, run as root.",
        line=line,
    )


def read_listing(
    text: str,
    source: str,
    command: str,
    read_server: Callable[[list[str], int, str], VirtualServer],
    read_real: Callable[[list[str], int, str], RealServer],
) -> IpvsTable:
    """A table in which real servers, marked by an arrow, stand below their virtual server.

    Raises ParseError without the heading that the command always prints, and for headings of other columns. The
    readers get the words of a line (without the arrow), its number and the line; they may raise UnreadableError.
    """
    builder = TableBuilder(source)
    lines = numbered_lines(text)
    start = next((i for i, (_, line) in enumerate(lines) if line.split() == _HEADING), None)
    if start is None or [*lines, (0, "")][start + 1][1].split() != _REAL_HEADING:
        raise other_output(source, command, lines[0][0] if lines else 0)
    for number, line in lines[:start]:
        if not line.startswith("IP Virtual Server version"):
            builder.unread(number, line, "not a line of the heading")
    index: int | None = None
    for number, line in lines[start + 2 :]:
        words = line.split()
        try:
            if words[0] != "->":
                index = None
                index = builder.add_server(read_server(words, number, line))
            elif index is None:
                raise UnreadableError("its virtual server was not understood")
            else:
                builder.add_real(read_real(words[1:], number, line), index)
        except UnreadableError as error:
            builder.unread(number, line, str(error))
    return builder.table(text)


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines that are not blank, with their 1-based numbers, without line ends."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [(number, line.rstrip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_socket(text: str) -> SocketAddress:
    """`10.0.0.1:80` or `[fd00::1]:80`. A port may be a name of /etc/services; a host name cannot be resolved."""
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise UnreadableError(f"not an address and a port: {text}")
    address = parse_address(match.group(1))
    if address is None or (address.version == 6) is not match.group(1).startswith("["):
        raise UnreadableError(f"not an address: {match.group(1)} (use -n)")
    digits = port_number(match.group(2))
    if digits is None:
        raise UnreadableError(f"the name of a port that is not known: {match.group(2)} (use -n)")
    number = read_number(digits)
    if number > 65535:
        raise UnreadableError(f"not a port: {number}")
    return SocketAddress(address, number)


def read_number(text: str) -> int:
    """A decimal number."""
    # A number of more digits is none of IPVS's, and int() refuses very long ones with an error of its own.
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise UnreadableError(f"not a number: {text}")
    return int(text)


def read_forwarding(text: str) -> Forwarding:
    """`Masq`, `Tunnel`, `Route` or `Local`, as listings have it."""
    try:
        return Forwarding(text.lower())
    except ValueError:
        raise UnreadableError(f"no way of forwarding: {text}") from None


def prefix_length(text: str) -> int:
    """The length of a netmask: `255.255.255.0` for IPv4, `64` for IPv6."""
    if text.isdecimal():
        length = read_number(text)
        if length <= 128:
            return length
        raise UnreadableError(f"not a mask: {text}")
    try:
        return ipaddress.IPv4Network(f"0.0.0.0/{text}").prefixlen
    except ValueError:
        raise UnreadableError(f"not a mask: {text}") from None
