"""The kernel is the referee: random rules are loaded, real connections are made, and where they end is what the walk
must say.

`KDIAG_KERNEL_RULESETS` is the number of rule sets (default 40), `KDIAG_KERNEL_SEED` the seed (default 1).
"""

from __future__ import annotations

import ipaddress
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kdiag.model.addresses import AddressSet, Family, Protocol, SocketAddress, parse_address
from kdiag.model.dataplane import ClientSet, Disposition, Frontend, FrontendKind, Masquerade, Position
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork
from kdiag.walk.program import Program
from kdiag.walk.walker import Leaf, Walker
from tests.proof.lab import PATIENCE_S, PORTS, SITES, Lab, LabError, Probe, Seen, Site, why_not
from tests.proof.rulesets import empty, generate, what_is_known

RULESETS = int(os.environ.get("KDIAG_KERNEL_RULESETS", "40"))
SEED = int(os.environ.get("KDIAG_KERNEL_SEED", "1"))
BACKENDS = ("nft", "legacy")
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The lab, what its kernel knows, and the node's network of each family."""

    lab: Lab
    known: frozenset[str]
    networks: dict[Family, NodeNetwork]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    lab = Lab()
    try:
        lab.__enter__()
    except (LabError, OSError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    try:
        networks = {family: lab.network(family) for family in Family}
        known = what_is_known(lambda site, text: all(lab.accepts(site.family, backend, text) for backend in BACKENDS))
        if not {"destination", "dport", "DNAT", "MASQUERADE"} <= known:
            pytest.skip("the kernel has no netfilter")
        _clear(lab)
        yield Ground(lab=lab, known=known, networks=networks)
    finally:
        lab.__exit__()


def _clear(lab: Lab) -> None:
    for family in Family:
        for backend in BACKENDS:
            lab.load(family, backend, empty())


def _probes(rng: random.Random, site: Site) -> list[Probe]:
    """Connections from every position; each goes to a Service, the node, a pod or a backend."""
    destinations = (*site.services, *site.services, *site.node_addresses, site.server, *site.backends)
    chosen = {
        Probe(position=position, source=source, destination=rng.choice(destinations), port=rng.choice(PORTS[:3]))
        for position in Position
        for source in site.clients(position)
        for _ in range(3)
    }
    return sorted(chosen)


def _walk(network: NodeNetwork, dump: str, probe: Probe) -> list[Leaf]:
    ruleset = parse_iptables_save(dump, family=network.family, source="lab")
    assert not ruleset.unread
    walker = Walker(Program((IptablesSpace(ruleset),), Surroundings(network=network)))
    destination, source = parse_address(probe.destination), parse_address(probe.source)
    assert destination is not None
    assert source is not None
    alone = AddressSet.of(network.family, (source,))
    clients = [
        ClientSet(addresses=both, interfaces=item.interfaces)
        for item in network.clients(probe.position, destination)
        if (both := item.addresses & alone)
    ]
    assert len(clients) == 1, f"{probe.source} is no {probe.position} client"
    frontend = Frontend(
        address=destination,
        protocol=Protocol.TCP,
        port=probe.port,
        kind=FrontendKind.CLUSTER_IP,
        position=probe.position,
    )
    return walker.walk(frontend, clients)


def _agrees(leaf: Leaf, seen: Seen, probe: Probe, site: Site, network: NodeNetwork) -> bool:
    fate = leaf.fate
    match fate.disposition:
        case Disposition.UNKNOWN:
            return True
        case Disposition.DROPPED:
            return seen == Seen()
        case Disposition.REJECTED:
            if _reset_is_lost(leaf, probe):
                return seen == Seen()
            return seen.refused
        case Disposition.BACKEND:
            assert fate.backend is not None
            place = (str(fate.backend.address), fate.backend.port)
        case Disposition.UNTRANSLATED:
            place = (probe.destination, probe.port)
    if seen.answer is None:
        return False
    address, number, source = seen.answer
    if (address, number) != place:
        return False
    rewriting = [step.met.action for step in leaf.passed.steps() if leaf.passed] if leaf.passed else []
    actions = [action for action in rewriting if action == "MASQUERADE" or action.startswith("SNAT")]
    if fate.disposition is Disposition.BACKEND:
        assert (fate.masquerade is not Masquerade.NO) is bool(actions)
    if not actions:
        return source == probe.source
    if actions[0].startswith("SNAT"):
        return source == actions[0].removeprefix("SNAT to ")
    destination = parse_address(address)
    assert destination is not None
    written = None if destination in network.local else network.source_for(destination)
    return source == str(written) if written is not None else source in (*site.node_addresses, "::1")


def _reset_is_lost(leaf: Leaf, probe: Probe) -> bool:
    """A RST for a packet that came by a bridge is sent straight to the bridge's port, so that nobody puts the address
    back that was translated (nf_send_reset)."""
    last = leaf.passed.ref() if leaf.passed else None
    backend = leaf.fate.backend
    return (
        probe.position is Position.POD
        and backend is not None
        and (str(backend.address), backend.port) != (probe.destination, probe.port)
        and last is not None
        and "tcp-reset" in last.text
    )


def _judge(ground: Ground, number: int) -> tuple[int, list[str]]:
    """Try one rule set; the number of connections, and every disagreement in words."""
    family = list(Family)[number % 2]
    backend = BACKENDS[number // 2 % 2]
    site, network = SITES[family], ground.networks[family]
    rng = random.Random(f"{SEED}/{number}")
    dump = ground.lab.load(family, backend, generate(rng, site, ground.known))
    try:
        probes = _probes(rng, site)
        walks = [_walk(network, dump, probe) for probe in probes]
        seen = ground.lab.send(probes)

        def agree(index: int) -> bool:
            return any(_agrees(leaf, seen[index], probes[index], site, network) for leaf in walks[index])

        wrong = [index for index in range(len(probes)) if not agree(index)]
        # A busy machine may answer too late: look again, with patience.
        for _ in range(TRIES):
            if not wrong:
                break
            for index, item in zip(wrong, ground.lab.send([probes[index] for index in wrong], PATIENCE_S), strict=True):
                seen[index] = item
            wrong = [index for index in wrong if not agree(index)]
        complaints = []
        for index in wrong:
            said = "; ".join(
                f"{leaf.fate.disposition} {leaf.fate.backend or ''} {leaf.fate.masquerade}" for leaf in walks[index]
            )
            ways = "\n".join(
                f"    {step.hook} {step.ref().text}"
                for leaf in walks[index]
                if leaf.passed
                for step in leaf.passed.steps()
            )
            complaints.append(
                f"rule set {number} ({family}, {backend}): {probes[index]}: {seen[index]}, walk: {said}\n{ways}"
            )
        return len(probes), [*complaints, dump] if complaints else []
    finally:
        ground.lab.load(family, backend, empty())


def test_connections_end_where_the_walk_says(ground: Ground) -> None:
    connections = 0
    for number in range(RULESETS):
        made, complaints = _judge(ground, number)
        connections += made
        assert not complaints, "\n".join(complaints)
    assert connections >= 10 * RULESETS


THREE_WAYS = """*nat
:PREROUTING ACCEPT [0:0]
:SVC - [0:0]
:SEP-1 - [0:0]
:SEP-2 - [0:0]
:SEP-3 - [0:0]
-A PREROUTING -d {service} -p tcp -m tcp --dport 80 -j SVC
{asking}
-A SVC -m statistic --mode random --probability 0.33333333349 -j SEP-1
-A SVC -m statistic --mode random --probability 0.50000000000 -j SEP-2
-A SVC -j SEP-3
{writing}
COMMIT
"""


def _three_ways(site: Site, *, affinity: bool) -> str:
    """Rules as kube-proxy writes them for a Service of three endpoints."""
    backends = (*site.backends, site.server)
    bracketed = [f"[{address}]" if site.family is Family.IPV6 else address for address in backends]
    asking = [
        f"-A SVC -m recent --rcheck --seconds 60 --name SEP-{index} --rsource -j SEP-{index}" for index in (1, 2, 3)
    ]
    writing = [
        f"-A SEP-{index} -p tcp {f'-m recent --set --name SEP-{index} --rsource ' if affinity else ''}"
        f"-j DNAT --to-destination {bracketed[index - 1]}:8080"
        for index in (1, 2, 3)
    ]
    return THREE_WAYS.format(
        service=site.services[0], asking="\n".join(asking) if affinity else "", writing="\n".join(writing)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", list(Family))
def test_random_rules_share_connections_as_the_walk_says(ground: Ground, family: Family, backend: str) -> None:
    if not {"statistic", "dport"} <= ground.known:
        pytest.skip("the kernel has no statistic match")
    site = SITES[family]
    dump = ground.lab.load(family, backend, _three_ways(site, affinity=False))
    probe = Probe(position=Position.POD, source=site.pods[0], destination=site.services[0], port=80)
    connections = 150
    try:
        # All of them have to be answered, on a busy machine, too.
        seen = ground.lab.send([probe] * connections, 10 * PATIENCE_S)
    finally:
        ground.lab.load(family, backend, empty())
    shares = {str(leaf.fate.backend): leaf.weight for leaf in _walk(ground.networks[family], dump, probe)}
    assert sum(shares.values()) == pytest.approx(1)
    assert len(shares) == 3
    answered = Counter(
        str(SocketAddress(ipaddress.ip_address(item.answer[0]), item.answer[1])) for item in seen if item.answer
    )
    assert answered.total() == connections
    for place, share in shares.items():
        # Six standard deviations: one false alarm in five hundred million runs.
        assert abs(answered[place] - connections * share) < 6 * (connections * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", list(Family))
def test_affinity_binds_a_client_to_one_backend(ground: Ground, family: Family, backend: str) -> None:
    site = SITES[family]
    text = _three_ways(site, affinity=True)
    if not ground.lab.accepts(family, backend, text):
        pytest.skip("the kernel has no recent match")
    dump = ground.lab.load(family, backend, text)
    probes = [
        Probe(position=Position.POD, source=source, destination=site.services[0], port=80) for source in site.pods
    ]
    try:
        first = ground.lab.send(probes, PATIENCE_S)
        later = [ground.lab.send(probes, PATIENCE_S) for _ in range(8)]
    finally:
        ground.lab.load(family, backend, empty())
    assert all(seen == first for seen in later)
    for probe, seen in zip(probes, first, strict=True):
        leaves = _walk(ground.networks[family], dump, probe)
        assert any(_agrees(leaf, seen, probe, site, ground.networks[family]) for leaf in leaves)
        assert {leaf.fate.affinity_s for leaf in leaves} == {60}
