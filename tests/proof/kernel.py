"""Figure 1: the kernel is the referee.

Rules are loaded into a real kernel, packets are sent, and where each came out is what the walker must say.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Position
from kdiag.model.rules import IpSet
from kdiag.parse.ipset_save import parse_ipset_save
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.parse.nft_json import parse_nft_json
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.network import NodeNetwork
from kdiag.walk.nft_rules import NftSpace
from kdiag.walk.program import Space
from kdiag.walk.walker import Walker
from tests.proof.edits import Edit
from tests.proof.figure import Figure
from tests.proof.iptables_edits import iptables_edits
from tests.proof.lab import PORTS, SITES, Lab, LabError, Site, why_not
from tests.proof.match_words import ipsets
from tests.proof.nft_edits import nft_edits
from tests.proof.nft_rulesets import generate_nft
from tests.proof.packets import NUMBERS, Packet, Wire
from tests.proof.recorded import Recorded, packets_to, recorded, sites
from tests.proof.referee import (
    CHI_SQUARE,
    SHARE_PACKETS,
    Verdict,
    chi_square,
    judge,
    judge_shares,
    leaves_of,
    walker_for,
)
from tests.proof.rulesets import empty, generate, what_is_known

NAME = "ruleset x packet pairs"
WANTED = 20_000
PACKETS = 200
# Of so many random rule sets, one is asked for its shares.
SHARES_EVERY = 4
BACKENDS = ("nft", "legacy")


@dataclass(slots=True)
class _Count:
    """What has been tried so far, by kind of rule set."""

    packets: Counter[str] = field(default_factory=Counter)
    rulesets: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    shared: int = 0
    complaints: list[str] = field(default_factory=list)

    def add(self, kind: str, verdict: Verdict) -> None:
        self.packets[kind] += verdict.packets
        self.rulesets[kind] += 1
        self.untold[kind] += verdict.untold
        self.shared += verdict.shared
        self.complaints += verdict.complaints


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A lab with its wire and the node's network of each family."""

    lab: Lab
    wire: Wire
    networks: dict[Family, NodeNetwork]
    ipsets: dict[str, IpSet]


@contextmanager
def ground(site_of: dict[Family, Site]) -> Iterator[Ground]:
    """A lab for as long as it is used."""
    with Lab(site_of, listening=False) as lab:
        wire = Wire(lab)
        try:
            networks = {family: lab.network(family) for family in site_of}
            yield Ground(lab=lab, wire=wire, networks=networks, ipsets=_made_sets(lab))
        finally:
            wire.close()


def _made_sets(lab: Lab) -> dict[str, IpSet]:
    """The sets that random rules ask, made on the node; none where there is no ipset."""
    if not all(site.services for site in lab.sites.values()):
        return {}
    try:
        made = [lab.make_sets(ipsets(site)) for site in lab.sites.values()]
    except (LabError, OSError):
        return {}
    found, unread = parse_ipset_save(made[-1], source="lab")
    assert not unread
    return found


def random_packets(rng: random.Random, site: Site, count: int = PACKETS) -> list[Packet]:
    """Packets from everywhere to Services, the node, pods and backends."""
    destinations = (*site.services, *site.services, *site.node_addresses, site.server, *site.backends)
    each = max(1, count // sum(len(site.clients(position)) for position in Position))
    return sorted(
        {
            Packet(
                position=position,
                source=source,
                destination=rng.choice(destinations),
                protocol=rng.choice((Protocol.TCP, Protocol.TCP, *NUMBERS)),
                port=rng.choice(PORTS[:3]),
            )
            for position in Position
            for source in site.clients(position)
            for _ in range(each + 1)
        }
    )


def load_what_is_taken(lab: Lab, text: str) -> str:
    """Load an nft rule set without the rules that nft does not take: not every combination of words is sense to it."""
    for _ in range(40):
        try:
            return lab.load_nft(text)
        except LabError as error:
            # The first line is `flush ruleset`.
            bad = {int(number) - 2 for number in re.findall(r"/dev/stdin:(\d+):\d+-\d+: Error", str(error))}
            if not bad:
                raise
            text = "\n".join(line for at, line in enumerate(text.split("\n")) if at not in bad)
    raise LabError("nft takes nothing of it")


def nft_ruleset(on: Ground, seed: int, number: int) -> Verdict:
    """One random native rule set."""
    family = list(Family)[number % 2]
    rng = random.Random(f"{seed}/nft/{number}")
    dump = load_what_is_taken(on.lab, generate_nft(rng, SITES[family]))
    try:
        ruleset = parse_nft_json(dump, source="lab")
        walker = walker_for(NftSpace(ruleset, family), on.networks[family])
        verdict = _judged(
            on, walker, random_packets(rng, SITES[family]), f"nft rule set {seed}/{number} ({family})", number
        )
        unread = tuple(f"nft rule set {seed}/{number}: not read: {item.text}" for item in ruleset.unread)
        return replace(verdict, complaints=(*verdict.complaints, *unread))
    finally:
        on.lab.load_nft("")


def _judged(on: Ground, walker: Walker, packets: list[Packet], title: str, number: int) -> Verdict:
    """Where each packet comes out, and now and then how many like it are shared out."""
    verdict = judge(on.wire, walker, packets, title)
    if number // 4 % SHARES_EVERY:
        return verdict
    tried, complaints = judge_shares(on.wire, walker, packets, title)
    return replace(verdict, shared=tried, complaints=(*verdict.complaints, *complaints))


def iptables_ruleset(on: Ground, known: frozenset[str], seed: int, number: int) -> Verdict:
    """One random rule set for iptables."""
    family, backend = list(Family)[number % 2], BACKENDS[number // 2 % 2]
    rng = random.Random(f"{seed}/iptables/{number}")
    dump = on.lab.load(family, backend, generate(rng, SITES[family], known))
    try:
        walker = walker_for(_iptables(dump, family), on.networks[family], on.ipsets)
        title = f"iptables rule set {seed}/{number} ({family}, {backend})"
        return _judged(on, walker, random_packets(rng, SITES[family]), title, number)
    finally:
        on.lab.load(family, backend, empty())


def _iptables(dump: str, family: Family) -> Space:
    ruleset = parse_iptables_save(dump, family=family, source="lab")
    assert not ruleset.unread
    return IptablesSpace(ruleset)


def recorded_rules(on: Ground, item: Recorded, seed: int, number: int, *, mutated: bool) -> Verdict:
    """A recorded rule set, or one with a mutation; a mutant that the kernel refuses counts for nothing."""
    rng = random.Random(f"{seed}/{item.name}/{item.family}/{number}")
    text, title = item.text, f"{item.name} {item.family}"
    if mutated:
        every = _mutants(item)
        edit = every[rng.randrange(len(every))]
        text, title = edit.make(), f"{title}, {edit.kind}, {edit.place}: {edit.label}"
    try:
        if item.backend == "native":
            dump = on.lab.load_nft_json(text)
            space: Space = NftSpace(parse_nft_json(dump, source="lab"), item.family)
        else:
            dump = on.lab.load(item.family, item.backend, text)
            space = _iptables(dump, item.family)
    except LabError as error:
        if mutated:
            return Verdict(packets=0, untold=0, complaints=())
        return Verdict(packets=0, untold=0, complaints=(f"{title}: {error}"[:2000],))
    try:
        packets = packets_to(item, rng, PACKETS if mutated else 2000)
        return judge(on.wire, walker_for(space, on.networks[item.family]), packets, title)
    finally:
        if item.backend == "native":
            on.lab.load_nft("")
        else:
            on.lab.load(item.family, item.backend, empty())


_MUTANTS: dict[tuple[str, Family], list[Edit]] = {}


def _mutants(item: Recorded) -> list[Edit]:
    key = (item.name, item.family)
    if key not in _MUTANTS:
        edits = nft_edits(item.text) if item.backend == "native" else iptables_edits(item.text)
        _MUTANTS[key] = list(edits)
    return _MUTANTS[key]


def shares(on: Ground, item: Recorded) -> tuple[int, list[str]]:
    """Whether repeated packets to some Service addresses are shared out as the walker says, by chi-square."""
    complaints: list[str] = []
    tried = 0
    if item.backend == "native":
        space: Space = NftSpace(parse_nft_json(on.lab.load_nft_json(item.text), source="lab"), item.family)
    else:
        space = _iptables(on.lab.load(item.family, item.backend, item.text), item.family)
    try:
        walker = walker_for(space, on.networks[item.family])
        source = sites()[item.family].pods[0]
        for address, protocol, number in item.targets[::9]:
            packet = Packet(
                position=Position.POD,
                source=source,
                destination=address,
                protocol=Protocol(protocol),
                port=number,
            )
            if any(leaf.fate.affinity_s is not None for leaf in leaves_of(walker, packet)):
                # A client that has been seen sticks to its backend: nothing is shared out.
                continue
            value, freedom = chi_square(on.wire, walker, packet, SHARE_PACKETS)
            if freedom in CHI_SQUARE and value != 0:
                tried += 1
                if value > CHI_SQUARE[freedom]:
                    complaints.append(f"{item.name}: {packet}: chi-square {value:.1f} of {freedom} degrees of freedom")
        return tried, complaints
    finally:
        if item.backend == "native":
            on.lab.load_nft("")
        else:
            on.lab.load(item.family, item.backend, empty())


def run(budget_s: float, seed: int) -> Figure:
    """Random, recorded and mutated rule sets until the budget is spent: half of it for random ones."""
    reason = why_not()
    if reason is not None:
        return Figure(NAME, 0, 0, wanted=WANTED, not_here=reason)
    count = _Count()
    start = time.monotonic()

    def until(share: float, one: Callable[[int], None]) -> None:
        number = 0
        while number == 0 or time.monotonic() - start < budget_s * share:
            one(number)
            number += 1

    try:
        with ground(SITES) as on:
            known = what_is_known(
                lambda site, text: all(on.lab.accepts(site.family, backend, text) for backend in BACKENDS)
            )
            for family in Family:
                for backend in BACKENDS:
                    on.lab.load(family, backend, empty())
            until(0.25, lambda number: count.add("random, iptables", iptables_ruleset(on, known, seed, number)))
            # Tables of iptables-nft are gone then, those of iptables-legacy are empty.
            until(0.5, lambda number: count.add("random, native nft", nft_ruleset(on, seed, number)))
        items = recorded()
        tried = 0
        with ground(sites()) as on:
            for item in items:
                count.add("recorded", recorded_rules(on, item, seed, 0, mutated=False))
            for item in items:
                if time.monotonic() - start < budget_s * 0.85:
                    made, complaints = shares(on, item)
                    tried += made
                    count.complaints += complaints
            until(
                1.0,
                lambda number: count.add(
                    "mutated recordings", recorded_rules(on, items[number % len(items)], seed, number, mutated=True)
                ),
            )
    except (LabError, OSError) as error:
        return Figure(NAME, count.packets.total(), len(count.complaints), wanted=WANTED, not_here=str(error)[:500])
    details = [
        f"{kind}: {count.rulesets[kind]} rule sets, {count.packets[kind]} packets, "
        f"{count.untold[kind]} of them with a way that kdiag calls unknown, since more than six rules on it cannot be decided"
        for kind in sorted(count.packets)
    ]
    details.append(
        f"shares of random choices: {tried} Service addresses and {count.shared} packets of random rule sets by chi-square, "
        f"{SHARE_PACKETS} packets each"
    )
    details.append("the kind of a refusal (reset, ICMP code) is compared, too")
    details.append("not by packets: IPVS (the virtual servers of a recording are judged by mutations only)")
    return Figure(
        NAME,
        count.packets.total(),
        len(count.complaints),
        details=tuple(details),
        complaints=tuple(count.complaints),
        wanted=WANTED,
    )
