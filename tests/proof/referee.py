"""Holds what the walker says of packets against what became of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from kdiag.model.addresses import AddressSet, Family, Protocol, parse_address
from kdiag.model.dataplane import ClientSet, Disposition, Frontend, FrontendKind, Position
from kdiag.model.rules import IpSet
from kdiag.walk.chains import MAX_ASSUMPTIONS
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork
from kdiag.walk.program import Program, Space
from kdiag.walk.walker import Leaf, Walker
from tests.proof.packets import PATIENCE_S, QUIET_S, Fallen, Packet, Wire

TRIES = 4
SHARE_PACKETS = 400
# The quantile of chi-square that one run in ten million passes by chance, for 1 to 5 degrees of freedom.
CHI_SQUARE = {1: 28.4, 2: 32.2, 3: 35.4, 4: 38.2, 5: 40.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a rule set: how many packets, of how many the walker says "cannot tell", and what disagreed.

    `shared` counts the packets of which chi-square was taken.
    """

    packets: int
    untold: int
    complaints: tuple[str, ...]
    shared: int = 0


def walker_for(space: Space, network: NodeNetwork, ipsets: Mapping[str, IpSet] | None = None) -> Walker:
    """A walker through one space alone."""
    return Walker(Program((space,), Surroundings(network=network, ipsets=ipsets)))


def leaves_of(walker: Walker, packet: Packet) -> list[Leaf]:
    """Every end that the walker sees for a packet."""
    network = walker.network
    destination, source = parse_address(packet.destination), parse_address(packet.source)
    assert destination is not None
    assert source is not None
    alone = AddressSet.of(network.family, (source,))
    clients = [
        ClientSet(addresses=both, interfaces=item.interfaces)
        for item in network.clients(packet.position, destination)
        if (both := item.addresses & alone)
    ]
    assert len(clients) == 1, f"{packet.source} is no {packet.position} client"
    frontend = Frontend(
        address=destination,
        protocol=packet.protocol,
        port=packet.port,
        kind=FrontendKind.CLUSTER_IP,
        position=packet.position,
    )
    return walker.walk(frontend, clients)


def agrees(leaf: Leaf, fallen: Fallen, packet: Packet, network: NodeNetwork) -> bool:
    """True if a packet may have come to this end."""
    fate = leaf.fate
    last = leaf.passed.ref().text if leaf.passed else ""
    match fate.disposition:
        case Disposition.UNKNOWN:
            return True
        case Disposition.DROPPED:
            return fallen == Fallen()
        case Disposition.REJECTED:
            if _refusal_is_lost(leaf, packet, last, network):
                return fallen.arrived is None
            return fallen.refusal == refusal_of(last, network.family)
        case Disposition.BACKEND:
            assert fate.backend is not None
            place = (str(fate.backend.address), fate.backend.port)
        case Disposition.UNTRANSLATED:
            place = (packet.destination, packet.port)
    if fallen.arrived is None or fallen.arrived[:2] != place:
        return False
    return _source_agrees(leaf, fallen.arrived, packet, network)


# ICMP codes by the words that iptables and nft print (RFC 792, RFC 1122, RFC 1812; RFC 4443).
CODES = {
    Family.IPV4: {
        "net-unreachable": 0,
        "host-unreachable": 1,
        "proto-unreachable": 2,
        "prot-unreachable": 2,
        "port-unreachable": 3,
        "net-prohibited": 9,
        "host-prohibited": 10,
        "admin-prohibited": 13,
    },
    Family.IPV6: {
        "no-route": 0,
        "admin-prohibited": 1,
        "adm-prohibited": 1,
        "addr-unreachable": 3,
        "port-unreachable": 4,
    },
}
# What an inet table calls them (nft(8), icmpx).
GENERAL = {"host-unreachable": "addr-unreachable"}


def refusal_of(rule: str, family: Family) -> str:
    """How the sender hears of a refusal by this rule: `reset`, or `icmp` with the code. Without words it is the port."""
    if "tcp-reset" in rule or "tcp reset" in rule:
        return "reset"
    word = "port-unreachable"
    if found := re.search(r"(?:reject-with|reject with) (?:icmpx?6?v?6? )?(?:type )?(?:icmp6?-)?([a-z-]+)", rule):
        word = GENERAL.get(found[1], found[1]) if family is Family.IPV6 else found[1]
    return f"icmp {CODES[family][word]}"


def _source_agrees(leaf: Leaf, arrived: tuple[str, int, str], packet: Packet, network: NodeNetwork) -> bool:
    address, _, source = arrived
    steps = [(step.met.action, step.hook) for step in leaf.passed.steps()] if leaf.passed else []
    rewritten = [action.lower() for action, _ in steps if action.lower().startswith(("masquerade", "snat"))]
    if not rewritten:
        return source == packet.source
    if rewritten[0].startswith("snat"):
        return source == rewritten[0].removeprefix("snat to ").strip("[]")
    destination = parse_address(address)
    assert destination is not None
    written = None if destination in network.local else network.source_for(destination)
    if written is not None:
        return source == str(written)
    parsed = parse_address(source)
    return parsed is not None and (parsed in network.local or source == "::1")


def _refusal_is_lost(leaf: Leaf, packet: Packet, last: str, network: NodeNetwork) -> bool:
    """A RST for a packet that came by a bridge is sent straight to the bridge's port, so that nobody puts the address
    back that was translated (nf_send_reset); it is not certain to be known again by the sender."""
    backend = leaf.fate.backend
    return (
        packet.position is Position.POD
        and backend is not None
        and (str(backend.address), backend.port) != (packet.destination, packet.port)
        and ("tcp-reset" in last or "tcp reset" in last)
    )


def judge(wire: Wire, walker: Walker, packets: Sequence[Packet], title: str) -> Verdict:
    """Send packets through rules that are loaded, and compare.

    Disagreements are tried again, one by one and as new clients: a busy machine is slow, and the walk follows a client that
    no rule remembers (what one that is remembered gets is judged by its affinity).
    """
    network = walker.network
    walks = [leaves_of(walker, packet) for packet in packets]
    fallen = wire.send(packets, QUIET_S)

    def wrong(index: int) -> bool:
        return not any(agrees(leaf, fallen[index], packets[index], network) for leaf in walks[index])

    left = [index for index in range(len(packets)) if wrong(index)]
    for _ in range(TRIES):
        if not left:
            break
        for index in left:
            wire.lab.forget_clients()
            (fallen[index],) = wire.send([packets[index]], PATIENCE_S)
        left = [index for index in left if wrong(index)]
    unknown = [
        (packet, leaf)
        for packet, leaves in zip(packets, walks, strict=True)
        for leaf in leaves
        if leaf.fate.disposition is Disposition.UNKNOWN
    ]
    # That is all right where too many rules on one way cannot be decided (limits, owners); else the walker knows too little.
    odd = [
        f"{title}: {packet}: unknown: {leaf.passed.ref().text if leaf.passed else ''}"
        for packet, leaf in unknown
        if len(leaf.assumptions) < MAX_ASSUMPTIONS
    ]
    wrong_ends = tuple(_complaint(title, packets[index], fallen[index], walks[index]) for index in left)
    return Verdict(packets=len(packets), untold=len({packet for packet, _ in unknown}), complaints=(*wrong_ends, *odd))


def judge_shares(wire: Wire, walker: Walker, packets: Sequence[Packet], title: str) -> tuple[int, tuple[str, ...]]:
    """Of the packets whose way hangs on chance alone, the first: whether many like it are shared out as the walker says."""
    for packet in packets:
        leaves = leaves_of(walker, packet)
        shares = shares_of(leaves, packet)
        if any(leaf.assumptions or leaf.fate.affinity_s is not None for leaf in leaves) or len(shares) < 2:
            continue
        if min(share for share in shares.values() if share) * SHARE_PACKETS < 5:
            continue
        value, freedom = chi_square(wire, walker, packet, SHARE_PACKETS)
        if freedom not in CHI_SQUARE or value == 0:
            continue
        if value > CHI_SQUARE[freedom]:
            return 1, (f"{title}: {packet}: chi-square {value:.1f} of {freedom} degrees of freedom, {shares}",)
        return 1, ()
    return 0, ()


def _complaint(title: str, packet: Packet, fallen: Fallen, leaves: Sequence[Leaf]) -> str:
    said = "; ".join(
        f"{leaf.fate.disposition} {leaf.fate.backend or ''} {leaf.fate.masquerade} {leaf.weight:.3g}" for leaf in leaves
    )
    ways = "\n".join(
        f"    {number} {step.hook} {step.ref().text}"
        for number, leaf in enumerate(leaves)
        if leaf.passed
        for step in leaf.passed.steps()
    )
    return f"{title}: {packet}: kernel {fallen}, walk: {said}\n{ways}"


Place = tuple[str, int] | None
"""Where a packet came out; None where it did not."""


def shares_of(leaves: Sequence[Leaf], packet: Packet) -> dict[Place, float]:
    """The walker's shares of the places where a packet may come out."""
    shares: dict[Place, float] = {}
    for leaf in leaves:
        place: Place = None
        if leaf.fate.disposition is Disposition.BACKEND and leaf.fate.backend is not None:
            place = (str(leaf.fate.backend.address), leaf.fate.backend.port)
        elif leaf.fate.disposition is Disposition.UNTRANSLATED:
            place = (packet.destination, packet.port)
        shares[place] = shares.get(place, 0.0) + leaf.weight
    return shares


def chi_square(wire: Wire, walker: Walker, packet: Packet, times: int) -> tuple[float, int]:
    """How far the ends of many packets are from the walker's shares: chi-square and its degrees of freedom."""
    shares = shares_of(leaves_of(walker, packet), packet)
    seen: dict[Place, int] = {}
    for item in wire.send([packet] * times, PATIENCE_S):
        place = item.arrived[:2] if item.arrived else None
        seen[place] = seen.get(place, 0) + 1
    if not seen.keys() <= {place for place, share in shares.items() if share}:
        return float("inf"), 1
    total = sum((seen.get(place, 0) - times * share) ** 2 / (times * share) for place, share in shares.items() if share)
    return total, max(1, sum(1 for share in shares.values() if share) - 1)


def by_protocol(packets: Sequence[Packet]) -> dict[Protocol, int]:
    """How many packets of each protocol."""
    ordered = sorted(packets, key=lambda item: item.protocol)
    return {key: len(list(group)) for key, group in groupby(ordered, key=lambda item: item.protocol)}


def family_of_number(number: int) -> Family:
    """The families in turn."""
    return list(Family)[number % 2]
