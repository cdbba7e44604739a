"""/proc/net/ip_vs: the kernel's own list of virtual servers, addresses and ports in hexadecimal.

Format: ip_vs_info_seq_show() of net/netfilter/ipvs/ip_vs_ctl.c, Linux 3.x to 6.x.
"""

from __future__ import annotations

import ipaddress
import re

from kdiag.model.addresses import Family, Protocol, SocketAddress, family_of
from kdiag.model.ipvs import IpvsTable, RealServer, VirtualServer
from kdiag.parse.ipvs_table import PROTOCOL_NAMES, UnreadableError, read_forwarding, read_listing, read_number

_IPV4 = re.compile(r"([0-9A-Fa-f]{8}):([0-9A-Fa-f]{4})")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:]+)\]:([0-9A-Fa-f]{4})")
_HEX = re.compile(r"[0-9A-Fa-f]{8}")


def parse_proc_ip_vs(text: str, source: str) -> IpvsTable:
    """The table in /proc/net/ip_vs.

    How long clients stick is given in timer ticks there (`VirtualServer.persistence_ticks`), the family of a firewall
    mark and the flags of a scheduler are not given. The file always has a heading: text without one raises ParseError.
    Lines that are not understood are in `unread`, and so are the real servers below such a line.
    """
    return read_listing(text, source, "cat /proc/net/ip_vs", _server, _real)


def _server(words: list[str], number: int, line: str) -> VirtualServer:
    if len(words) < 3 or (words[0] != "FWM" and words[0] not in PROTOCOL_NAMES):
        raise UnreadableError("not a virtual server")
    socket = None if words[0] == "FWM" else _socket(words[1])
    family = family_of(socket.address) if socket else Family.IPV4
    ticks: int | None = None
    mask: int | None = None
    flags: list[str] = []
    rest = words[3:]
    if "persistent" in rest:
        at = rest.index("persistent")
        if len(rest) != at + 3:
            raise UnreadableError("persistence has a time and a mask")
        ticks, mask = read_number(rest[at + 1]), _mask(rest[at + 2], family)
        rest = rest[:at]
    for word in rest:
        if word != "ops":
            raise UnreadableError(f"a flag that is not known: {word}")
        flags.append(word)
    return VirtualServer(
        protocol=Protocol(words[0]) if socket else None,
        address=socket.address if socket else None,
        port=socket.port if socket else 0,
        family=family,
        scheduler=words[2],
        persistence_ticks=ticks,
        mask=mask,
        flags=tuple(flags),
        fwmark=None if socket else _hexadecimal(words[1]),
        line=number,
        text=line,
    )


def _real(words: list[str], number: int, line: str) -> RealServer:
    if len(words) != 5:
        raise UnreadableError("a real server has five columns")
    socket = _socket(words[0])
    return RealServer(
        address=socket.address,
        port=socket.port,
        forwarding=read_forwarding(words[1]),
        weight=read_number(words[2]),
        line=number,
        text=line,
    )


def _socket(text: str) -> SocketAddress:
    short, long = _IPV4.fullmatch(text), _IPV6.fullmatch(text)
    if short is not None:
        return SocketAddress(ipaddress.IPv4Address(int(short.group(1), 16)), int(short.group(2), 16))
    if long is not None:
        try:
            return SocketAddress(ipaddress.IPv6Address(long.group(1)), int(long.group(2), 16))
        except ValueError:
            pass
    raise UnreadableError(f"not an address and a port: {text}")


def _hexadecimal(text: str) -> int:
    if not _HEX.fullmatch(text):
        raise UnreadableError(f"not a hexadecimal number: {text}")
    return int(text, 16)


def _mask(text: str, family: Family) -> int:
    """A prefix length: IPv4 prints a netmask, IPv6 the length with its bytes turned round on little-endian machines."""
    value = _hexadecimal(text)
    if family is Family.IPV4:
        ones = value.bit_count()
        if value != (0xFFFFFFFF << (32 - ones)) & 0xFFFFFFFF:
            raise UnreadableError(f"not a mask: {text}")
        return ones
    turned = int.from_bytes(value.to_bytes(4, "big"), "little")
    length = value if value <= 128 else turned
    if length > 128:
        raise UnreadableError(f"not a mask: {text}")
    return length
