"""Single packets: thousands are sent from the lab's namespaces at once, and where each came out is seen there.

A packet carries its number (TCP: the sequence number, UDP: the payload, SCTP: the initiate tag), which no translation
changes, and has a source port of its own, by which a refusal is known again. SCTP needs no kernel that speaks it:
netfilter knows the protocol anyway.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Position
from tests.proof.lab import Lab, _inside

NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
QUIET_S = 0.04
PATIENCE_S = 0.4
FIRST_PORT, LAST_PORT = 20000, 60000
ICMP_UNREACHABLE = {Family.IPV4: 3, Family.IPV6: 1}
BUFFER = 8 << 20
SO_RCVBUFFORCE = 33


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Packet:
    """The first packet of a connection: from where, with which source address, to which address and port."""

    position: Position
    source: str
    destination: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """Where a packet came out: `arrived` is address, port and the source that was seen there; `refusal` is `reset` or
    `icmp CODE`. Neither: it was lost."""

    arrived: tuple[str, int, str] | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Tap:
    """A raw socket that hears one protocol in one namespace; `inner` 0 is ICMP."""

    listener: socket.socket
    family: Family
    number: int


class Wire:
    """Sends packets through a lab, and listens in all its namespaces."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._senders: dict[tuple[Position, Family], socket.socket] = {}
        self._taps: dict[int, _Tap] = {}
        self._next_port = FIRST_PORT
        self._poll = select.poll()
        positions = {lab.client: Position.POD, lab.outside: Position.EXTERNAL, lab.node: Position.NODE}
        for namespace in (lab.node, lab.client, lab.server, lab.outside, lab.backend):
            with _inside(namespace):
                for family in Family:
                    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
                    if namespace in positions:
                        # Protocol "raw" never hears anything, and takes packets with their IP header.
                        sender = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
                        self._senders[positions[namespace], family] = sender
                    icmp = socket.IPPROTO_ICMP if family is Family.IPV4 else socket.IPPROTO_ICMPV6
                    for number in (*NUMBERS.values(), icmp):
                        listener = socket.socket(kind, socket.SOCK_RAW, number)
                        listener.setblocking(False)
                        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                        if family is Family.IPV6:
                            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                        self._taps[listener.fileno()] = _Tap(listener, family, number)
                        self._poll.register(listener, select.POLLIN)

    def close(self) -> None:
        """Close all sockets."""
        for tap in self._taps.values():
            tap.listener.close()
        for sender in self._senders.values():
            sender.close()

    def send(self, packets: Sequence[Packet], quiet_s: float = QUIET_S) -> list[Fallen]:
        """Send all packets, and wait until nothing has been heard for so long."""
        self._hear({}, 0)
        waiting: dict[int, int] = {}
        found: dict[int, Fallen] = {}
        for index, packet in enumerate(packets):
            self._next_port = self._next_port + 1 if self._next_port < LAST_PORT else FIRST_PORT
            waiting[self._next_port] = index
            family = Family.IPV6 if ":" in packet.destination else Family.IPV4
            # Refused by a rule of OUTPUT: the sender is told at once, and by ICMP as well.
            with contextlib.suppress(PermissionError, ConnectionRefusedError, OSError):
                self._senders[packet.position, family].sendto(
                    _bytes(packet, family, self._next_port), (packet.destination, 0)
                )
            if index % 64 == 63:
                self._hear(found, 0)
        end = time.monotonic() + quiet_s
        while (left := end - time.monotonic()) > 0:
            if self._hear(found, left):
                end = time.monotonic() + quiet_s
        return [found.get(number, Fallen()) for number in waiting]

    def _hear(self, found: dict[int, Fallen], timeout_s: float) -> bool:
        """Take down what has been heard; True if it was anything about a packet."""
        news = False
        for descriptor, _ in self._poll.poll(timeout_s * 1000):
            tap = self._taps[descriptor]
            for _ in range(512):
                try:
                    content, ancillary, _, peer = tap.listener.recvmsg(4096, 64)
                except OSError:
                    break
                number, fallen = _read(tap, content, ancillary, peer[0])
                if fallen is None:
                    continue
                earlier = found.get(number)
                if earlier is None or (earlier.arrived is None and fallen.arrived is not None):
                    found[number] = fallen
                    news = True
        return news


def _read(
    tap: _Tap, content: bytes, ancillary: Sequence[tuple[int, int, bytes]], peer: str
) -> tuple[int, Fallen | None]:
    """What one heard packet says: about which number, and what."""
    source = str(ipaddress.ip_address(peer.partition("%")[0]))
    if tap.family is Family.IPV4:
        destination, content = socket.inet_ntop(socket.AF_INET, content[16:20]), content[(content[0] & 15) * 4 :]
    else:
        here = [item for level, kind, item in ancillary if kind == socket.IPV6_PKTINFO]
        destination = socket.inet_ntop(socket.AF_INET6, here[0][:16]) if here else ""
    if tap.number not in NUMBERS.values():
        inner = content[8:]
        if len(inner) < 48 - 20 or content[0] != ICMP_UNREACHABLE[tap.family]:
            return 0, None
        inner = inner[(inner[0] & 15) * 4 :] if tap.family is Family.IPV4 else inner[40:]
        return struct.unpack("!H", inner[:2])[0], Fallen(refusal=f"icmp {content[1]}")
    if len(content) < 12:
        return 0, None
    _, port = struct.unpack("!HH", content[:4])
    if tap.number == 6:
        flags = content[13]
        if flags & 0x04:
            return port, Fallen(refusal="reset")
        number = struct.unpack("!I", content[4:8])[0] if flags & 0x12 == 0x02 else 0
    elif tap.number == 17:
        number = struct.unpack("!I", content[8:12])[0]
    else:
        number = struct.unpack("!I", content[16:20])[0] if len(content) >= 20 and content[12] == 1 else 0
    if not FIRST_PORT <= number <= LAST_PORT:
        return 0, None
    return number, Fallen(arrived=(str(ipaddress.ip_address(destination)), port, source))


def _bytes(packet: Packet, family: Family, number: int) -> bytes:
    """The packet with its IP header."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    source, destination = socket.inet_pton(kind, packet.source), socket.inet_pton(kind, packet.destination)
    protocol = NUMBERS[packet.protocol]
    if packet.protocol is Protocol.SCTP:
        chunk = struct.pack("!BBHIIHHI", 1, 0, 20, number, 65536, 1, 1, number)
        head = struct.pack("!HHI", number, packet.port, 0)
        body = head + struct.pack("<I", _crc32c(head + b"\0\0\0\0" + chunk)) + chunk
    else:
        if packet.protocol is Protocol.TCP:
            bare = struct.pack("!HHIIBBHHH", number, packet.port, number, 0, 0x50, 0x02, 64240, 0, 0)
            at = 16
        else:
            bare = struct.pack("!HHHHI", number, packet.port, 12, 0, number)
            at = 6
        pseudo = source + destination + struct.pack("!II", len(bare), protocol)
        body = bare[:at] + struct.pack("!H", _checksum(pseudo + bare) or 0xFFFF) + bare[at + 2 :]
    if family is Family.IPV6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + destination + body
    # The kernel fills in the length, the identification and the checksum (raw(7)).
    return struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, protocol, 0) + source + destination + body


def _checksum(content: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{len(content) // 2}H", content)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        found.append(value)
    return tuple(found)


def _crc32c(content: bytes) -> int:
    """SCTP's checksum (RFC 9260, appendix A)."""
    table, value = _table(), 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF
