"""A set of packets on its way: one destination, all the sources of a client position at once."""

from __future__ import annotations

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import Masquerade, Passed

Assumption = tuple[int, bool]
"""A rule that could not be decided (its line-independent number) and the way that was followed."""


class Flow:
    """The packets at one point of the walk. A rule that splits them makes a `copy` for one part; the other stays.

    `destination` is the address as an integer, as rules compare it. `weight` is the share (0 to 1) that random
    matches have left; `assumptions` the undecided matches on the way. `looked_up` are the affinity lists that were
    asked (name, seconds, chain jumped to on a hit): a client not seen before is in none. `rewritten` are the addresses
    that the source may have become; `addresses` stay the clients' own. `seen` is False until connection tracking has looked at
    the packet, which it does between base chains: those before cannot ask for the connection. `templated` is True if one of
    those has said what the connection is to be like.
    """

    __slots__ = (
        "addresses",
        "affinity_s",
        "assumptions",
        "connmark",
        "destination",
        "family",
        "in_interfaces",
        "just_scheduled",
        "local_origin",
        "looked_up",
        "mark",
        "masquerade",
        "original_destination",
        "original_port",
        "out_interfaces",
        "passed",
        "port",
        "protocol",
        "rewritten",
        "scheduled",
        "seen",
        "templated",
        "translated",
        "untracked",
        "weight",
    )

    def __init__(
        self,
        *,
        family: Family,
        protocol: str,
        destination: int,
        port: int,
        addresses: AddressSet,
        in_interfaces: frozenset[str] | None,
        local_origin: bool,
    ) -> None:
        self.family = family
        self.protocol = protocol
        self.destination = destination
        self.port = port
        self.addresses = addresses
        self.in_interfaces = in_interfaces
        self.local_origin = local_origin
        self.out_interfaces: frozenset[str] | None = None
        self.original_destination = destination
        self.original_port = port
        self.mark = 0
        self.connmark = 0
        self.translated = False
        self.scheduled = False
        self.just_scheduled = False
        self.untracked = False
        self.seen = False
        self.templated = False
        self.masquerade = Masquerade.NO
        self.rewritten: AddressSet | None = None
        self.affinity_s: int | None = None
        self.looked_up: tuple[tuple[str, int, str], ...] = ()
        self.weight = 1.0
        self.assumptions: tuple[Assumption, ...] = ()
        self.passed: Passed | None = None

    def copy(self) -> Flow:
        """An independent copy. Spelled out: this is the walker's commonest act, and a loop over slots costs twice."""
        twin = Flow.__new__(Flow)
        twin.family = self.family
        twin.protocol = self.protocol
        twin.destination = self.destination
        twin.port = self.port
        twin.addresses = self.addresses
        twin.in_interfaces = self.in_interfaces
        twin.out_interfaces = self.out_interfaces
        twin.local_origin = self.local_origin
        twin.original_destination = self.original_destination
        twin.original_port = self.original_port
        twin.mark = self.mark
        twin.connmark = self.connmark
        twin.translated = self.translated
        twin.scheduled = self.scheduled
        twin.just_scheduled = self.just_scheduled
        twin.untracked = self.untracked
        twin.seen = self.seen
        twin.templated = self.templated
        twin.masquerade = self.masquerade
        twin.rewritten = self.rewritten
        twin.affinity_s = self.affinity_s
        twin.looked_up = self.looked_up
        twin.weight = self.weight
        twin.assumptions = self.assumptions
        twin.passed = self.passed
        return twin
