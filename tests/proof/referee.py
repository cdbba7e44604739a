"""Holds what the walker says of packets against what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from kdiag.model.addresses import AddressSet, Family, Protocol, parse_address
from kdiag.model.dataplane import ClientSet, Disposition, Frontend, FrontendKind, Position
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork
from kdiag.walk.program import Program, Space
from kdiag.walk.walker import Leaf, Walker
from tests.proof.packets import PATIENCE_S, QUIET_S, Fallen, Packet, Wire

TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a rule set: how many packets, of how many the walker says "cannot tell", and what disagreed."""

    packets: int
    untold: int
    complaints: tuple[str, ...]


def walker_for(space: Space, network: NodeNetwork) -> Walker:
    """A walker through one space alone."""
    return Walker(Program((space,), Surroundings(network=network)))


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
            wants_reset = "tcp-reset" in last or "tcp reset" in last
            return fallen.refusal is not None and (fallen.refusal == "reset") is wants_reset
        case Disposition.BACKEND:
            assert fate.backend is not None
            place = (str(fate.backend.address), fate.backend.port)
        case Disposition.UNTRANSLATED:
            place = (packet.destination, packet.port)
    if fallen.arrived is None or fallen.arrived[:2] != place:
        return False
    return _source_agrees(leaf, fallen.arrived, packet, network)


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
    """Send packets through rules that are loaded, and compare. Disagreements are tried again: a busy machine is slow."""
    network = walker.network
    walks = [leaves_of(walker, packet) for packet in packets]
    fallen = wire.send(packets, QUIET_S)

    def wrong(index: int) -> bool:
        return not any(agrees(leaf, fallen[index], packets[index], network) for leaf in walks[index])

    left = [index for index in range(len(packets)) if wrong(index)]
    for _ in range(TRIES):
        if not left:
            break
        for index, item in zip(left, wire.send([packets[index] for index in left], PATIENCE_S), strict=True):
            fallen[index] = item
        left = [index for index in left if wrong(index)]
    return Verdict(
        packets=len(packets),
        untold=sum(1 for leaves in walks if any(leaf.fate.disposition is Disposition.UNKNOWN for leaf in leaves)),
        complaints=tuple(_complaint(title, packets[index], fallen[index], walks[index]) for index in left),
    )


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


def chi_square(
    wire: Wire, walker: Walker, packet: Packet, times: int, name: Callable[[Leaf], str] | None = None
) -> tuple[float, int]:
    """How far the ends of many packets are from the walker's shares: chi-square and its degrees of freedom."""
    shares: dict[tuple[str, int] | None, float] = {}
    for leaf in leaves_of(walker, packet):
        backend = leaf.fate.backend if leaf.fate.disposition is Disposition.BACKEND else None
        place = (str(backend.address), backend.port) if backend else None
        shares[place] = shares.get(place, 0.0) + leaf.weight
    seen: dict[tuple[str, int] | None, int] = {}
    for item in wire.send([packet] * times, PATIENCE_S):
        place = item.arrived[:2] if item.arrived else None
        seen[place] = seen.get(place, 0) + 1
    if not seen.keys() <= shares.keys():
        return float("inf"), 1
    total = sum((seen.get(place, 0) - times * share) ** 2 / (times * share) for place, share in shares.items() if share)
    return total, max(1, len(shares) - 1)


def by_protocol(packets: Sequence[Packet]) -> dict[Protocol, int]:
    """How many packets of each protocol."""
    ordered = sorted(packets, key=lambda item: item.protocol)
    return {key: len(list(group)) for key, group in groupby(ordered, key=lambda item: item.protocol)}


def family_of_number(number: int) -> Family:
    """The families in turn."""
    return list(Family)[number % 2]
