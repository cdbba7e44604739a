"""What a rule asks of a packet, as tests on a flow; and the values that its options are written in.

A test answers True, False, or None: "this cannot be told from a dump".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from kdiag.model.addresses import AddressSet
from kdiag.model.rules import IpSet, Option
from kdiag.walk.flow import Flow
from kdiag.walk.network import NodeNetwork

Test = Callable[[Flow], bool | None]

PORTED = ("tcp", "udp", "sctp", "dccp", "udplite")
SERVICE_PORTS = {"http": 80, "https": 443, "domain": 53, "ssh": 22}


class Compiled(Struct, kw_only=True):
    """The meaning of a rule's match options.

    All `tests` must hold; `sources` narrows the clients (a flow of which a part matches is split).
    `narrows` does so by what the flow is at the moment (None: it cannot be told). `share` is the probability of a random
    match. `looks_up` is the affinity list (name, seconds) asked by
    `recent --rcheck`: such a rule matches no client that is judged. `remembers` is the one written by `recent --set`.
    """

    tests: list[Test] = field(default_factory=list)
    sources: AddressSet | None = None
    narrows: Callable[[Flow], AddressSet | None] | None = None
    share: float | None = None
    looks_up: tuple[str, int] | None = None
    remembers: str | None = None

    def narrow(self, addresses: AddressSet) -> None:
        """Keep only clients with these addresses."""
        self.sources = addresses if self.sources is None else self.sources & addresses


class Surroundings(Struct, frozen=True, kw_only=True):
    """What matches may ask about besides the packet: the node's network and its ipsets (None: not recorded)."""

    network: NodeNetwork
    ipsets: Mapping[str, IpSet] | None = None


Reader = Callable[[Compiled, Option, Surroundings], None]


def always(_: Flow) -> bool | None:
    """Holds for every packet."""
    return True


def never(_: Flow) -> bool | None:
    """Holds for no packet that is judged."""
    return False


def cannot_tell(_: Flow) -> bool | None:
    """Nothing in a dump says whether it holds."""
    return None


def negate(test: Test, negated: bool) -> Test:
    """The test itself, or its opposite."""
    if not negated:
        return test

    def opposite(flow: Flow) -> bool | None:
        answer = test(flow)
        return None if answer is None else not answer

    return opposite


def read_number(text: str) -> int | None:
    """A number as iptables prints it, decimal or 0x; None if it is none."""
    try:
        return int(text, 0)
    except ValueError:
        return None


def read_mask(text: str) -> tuple[int, int] | None:
    """`0x4000/0x4000` as value and mask; the mask defaults to all ones."""
    value_text, _, mask_text = text.partition("/")
    value = read_number(value_text)
    mask = read_number(mask_text) if mask_text else 0xFFFFFFFF
    return None if value is None or mask is None else (value, mask)


def read_ports(text: str) -> tuple[tuple[int, int], ...] | None:
    """`80`, `80:90`, `:90`, `http`, or a comma list of them, as inclusive ranges."""
    ranges = []
    for part in text.split(","):
        low_text, colon, high_text = part.partition(":")
        low = _port(low_text or "0")
        high = _port(high_text or "65535") if colon else low
        if low is None or high is None:
            return None
        ranges.append((low, high))
    return tuple(ranges)


def _port(text: str) -> int | None:
    number = read_number(text)
    return SERVICE_PORTS.get(text) if number is None else number
