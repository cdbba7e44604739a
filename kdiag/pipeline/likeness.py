"""Nodes that are alike: what was seen of Service ports of one kind on one of them holds for those of that kind on all.

What happens to packets to a Service port of some kind hangs on the rules that no Service has to itself, on what these and the
node's network tell apart, on who the clients are, and on the settings of the proxy. Where all that is the same on two nodes,
but for which addresses lie where, a kind that was walked on one of them and is right there is right on the other, and is not
walked again. As within a node, no address is looked at but for the class that it is of (`kdiag.walk.distinctions`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from kdiag.expect.dataplane import NodeContext, detector_of
from kdiag.expect.frontends import node_port_addresses
from kdiag.expect.situation import LocalDetector
from kdiag.model.addresses import UNSPECIFIED, Family
from kdiag.model.dataplane import Position
from kdiag.model.proxy import ProxyConfig, ProxyMode, Version
from kdiag.model.rules import Backend, IpSet
from kdiag.parse.iptables_parts import CutDump
from kdiag.pipeline.first_node import FirstNode
from kdiag.pipeline.offers import Kind, Walked
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.programs import of_family
from kdiag.walk.distinctions import Distinctions, Numbers

if TYPE_CHECKING:
    from kdiag.pipeline.offers import Cut

_MOST_SORTS = 64
"""Where nodes are of more sorts than this, those that were met first are forgotten."""
_CHANGING = re.compile(rb"^#.*\n|(?<= )\[\d+:\d+\]$", re.MULTILINE)
"""What is different in every dump: the time, and how many packets there were."""
# What gives packets an address that hangs on more than the class of the one that they had.
_TO_ANOTHER_ADDRESS = re.compile(rb" -j (?:REDIRECT|NETMAP|TPROXY)\b")

# An address that is not the node's own: to those its own packets have another source.
_NOWHERE = UNSPECIFIED

Clients = tuple[frozenset[int], frozenset[str] | None]
"""The classes of some clients, and the interfaces that they come in by."""


class Likeness(Struct, frozen=True):
    """All that decides what the rules of a kind do on a node, but for that kind."""

    family: Family
    mode: ProxyMode
    version: Version | None
    config: ProxyConfig | None
    """But for where it was read, and the name that the proxy goes by: that decides which endpoints are on its node."""
    detector: LocalDetector
    backend: Backend
    covers: frozenset[str] | None
    forms_of: int
    """The dump by which the forms of chains are numbered."""
    rest: bytes
    """The rules of no Service, and the chains of Services that these lead to."""
    ipsets: Mapping[str, IpSet] | None
    literals: tuple[tuple[int, int], ...]
    ports: tuple[tuple[int, int], ...]
    clients: Mapping[Position, tuple[Clients, ...]]
    node_ports_at: tuple[tuple[int, bool], ...]
    """The classes of the addresses at which NodePorts are open, and whether each is a loopback address."""
    local_known: bool
    has_routes: bool
    bridges: frozenset[str]
    bridge_netfilter: bool


class AlikeNodes:
    """The kinds that were walked and are right, for each sort of node. `numbers` are those of the classes of addresses."""

    def __init__(self) -> None:
        self.numbers: Numbers = {}
        self._found: list[tuple[Likeness, dict[Kind, Walked]]] = []
        self._first: dict[int, FirstNode] = {}

    def first_of(self, cut: Cut, distinctions: Distinctions) -> FirstNode | None:
        """What was sorted by the dump from which this one takes over what is the same; None if there is none."""
        if not isinstance(cut, CutDump):
            return None
        first = id(cut.like or cut)
        if cut.is_first:
            self._first[first] = FirstNode(distinctions, cut.crossings.refused)
        return self._first.get(first)

    def walked_on(self, likeness: Likeness) -> dict[Kind, Walked]:
        """What is known of nodes like this one, to be added to."""
        for known, kinds in self._found:
            if known == likeness:
                return kinds
        found: dict[Kind, Walked] = {}
        self._found = [*self._found[1 - _MOST_SORTS :], (likeness, found)]
        return found


def likeness_of(
    evidence: NodeEvidence, context: NodeContext, cut: CutDump, source: str, distinctions: Distinctions
) -> Likeness | None:
    """What nodes like this one have in common, as far as the rules of one family go, which were read from `source`; None
    where rules are seen that may tell more than that."""
    family = distinctions.family
    ruleset, *others = sorted(of_family(evidence, family), key=lambda item: item.source != source)
    network = context.networks[family]
    rest = cut.rest_text()
    # What is kept of one node has to have been found with another in mind.
    numbered = cut.is_first or cut.like is not None
    lone = not others and evidence.nft is None and evidence.ipvs is None
    if not (numbered and lone) or context.mode is not ProxyMode.IPTABLES or _TO_ANOTHER_ADDRESS.search(rest):
        return None
    at = node_port_addresses(family, network, context.host, context.config, context.rules)
    return Likeness(
        family=family,
        mode=context.mode,
        version=context.version,
        config=context.config and replace(context.config, source="", hostname_override=None),
        detector=detector_of(family, context),
        backend=ruleset.backend,
        covers=ruleset.covers,
        forms_of=id(cut.like or cut),
        rest=_CHANGING.sub(b"", b"".join([rest, *cut.reached_texts()])),
        ipsets=evidence.ipsets,
        literals=distinctions.literals,
        ports=distinctions.ports,
        clients={position: _clients(context, family, position, distinctions) for position in Position},
        node_ports_at=tuple([(distinctions.of_address(int(item)), item.is_loopback) for item in at]),
        local_known=network.local_known,
        has_routes=bool(network.routes),
        bridges=network.bridges,
        bridge_netfilter=network.bridge_netfilter,
    )


def _clients(
    context: NodeContext, family: Family, position: Position, distinctions: Distinctions
) -> tuple[Clients, ...]:
    network = context.networks[family]
    anywhere = network.clients(position, _NOWHERE[family])
    return tuple([(distinctions.of_set(item.addresses), item.interfaces) for item in anywhere])
