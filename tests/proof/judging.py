"""One damaged node judged: what became of its packets by the walk, and what kdiag's report says of it.

Ground truth is the walk: the fate of every packet that has to do with a Service, in the sound and in the damaged rules.
(That the walk is right is figure 1's matter, which sends packets through damaged rules, too.) The frontends are those that
the API asks for, and those beside them that the damage may have made: the same address with another last part, port or
protocol. Which of them kdiag looks at by itself does not matter.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import structs

from kdiag.checks import all_checks
from kdiag.model.addresses import Family, Protocol, parse_address
from kdiag.model.dataplane import Behaviour, DataPlane, Disposition, Frontend, FrontendKind, Masquerade, Outcome
from kdiag.model.facts import FactKind
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Finding, Gap, Severity
from kdiag.model.rules import Ruleset
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import NodeView, View
from kdiag.pipeline.flow import finding_order
from kdiag.pipeline.viewing import build_view
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.iptables import choose
from kdiag.planes.programs import behaviours_of, of_family, walker_of
from kdiag.planes.userspace import PLANE as USERSPACE
from kdiag.walk.cases import cases_of
from kdiag.walk.network import NodeNetwork, node_network
from tests.compare.builders import agree
from tests.proof.edits import Edit, other_address

OTHER_PROTOCOLS = {Protocol.TCP: Protocol.UDP, Protocol.UDP: Protocol.TCP, Protocol.SCTP: Protocol.TCP}
API = "cluster/"
"""Before the name of a list of the API, where else a node's file is named."""
DATA_PLANE = "KD2"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What kdiag makes of a snapshot, looking at one node."""

    view: View
    node: NodeView
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]

    @property
    def actual(self) -> Mapping[Frontend, Behaviour]:
        """What packets meet, as far as kdiag read it."""
        return self.node.actual.behaviours if self.node.actual is not None else {}

    @property
    def expected(self) -> DataPlane:
        """What the API asks for."""
        return self.node.expected or DataPlane(node=self.node.name, behaviours={})


def look_at(snapshot: Snapshot, node: str, settle_s: float = 30.0) -> Look:
    """What `diagnose` does, with its view kept: of a large dump, of which it walks a part, a view of the whole.

    `settle_s` as in `Scope`.
    """
    view, gaps = build_view(snapshot, nodes=(node,), settle_s=settle_s)
    found = sorted((item for check in all_checks() for item in check.run(view)), key=finding_order)
    if view.node_by_name[node].twins:
        view, _ = build_view(snapshot, nodes=(node,), settle_s=settle_s, every_port=True)
    return Look(view=view, node=view.node_by_name[node], findings=tuple(found), gaps=gaps)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A node of a sound recording, and what kdiag makes of it."""

    name: str
    node: str
    snapshot: Snapshot
    sound: Look
    settle_s: float = 30.0
    walked: dict[Frontend, Behaviour] = field(default_factory=dict)
    """Frontends beside the expected ones, walked once through the sound rules."""

    def text(self, probe: str) -> str:
        """A file of the node, or with `cluster/` before it a list of the API."""
        kind = probe.removeprefix(API)
        return (self.snapshot.api[kind] if kind != probe else self.snapshot.nodes[self.node][probe]).text()

    def damaged(self, probe: str, text: str) -> Snapshot:
        """The recording with one file of the node, or one list of the API, replaced."""
        kind = probe.removeprefix(API)
        if kind != probe:
            listed = self.snapshot.api[kind].replaced(content=text.encode())
            return structs.replace(self.snapshot, api={**self.snapshot.api, kind: listed})
        probes = self.snapshot.nodes[self.node]
        changed = {**probes, probe: probes[probe].replaced(content=text.encode())}
        return structs.replace(self.snapshot, nodes={**self.snapshot.nodes, self.node: changed})


def subject_of(name: str, snapshot: Snapshot, node: str, settle_s: float = 30.0) -> Subject:
    """A node of a sound recording."""
    sound = look_at(snapshot, node, settle_s)
    return Subject(name=name, node=node, snapshot=snapshot, sound=sound, settle_s=settle_s)


# -- ground truth --------------------------------------------------------------------------------------------------------


def _networks(look: Look) -> dict[Family, NodeNetwork]:
    pods = look.view.cluster.pods_by_node.get(look.node.name, ())
    ranges = look.view.facts.networks(FactKind.SERVICE_RANGE)
    return {family: node_network(family, look.node.host, look.node.node, pods, ranges) for family in Family}


def walk(look: Look, probes: Snapshot, frontends: Iterable[Frontend]) -> dict[Frontend, Behaviour]:
    """What packets to these frontends meet, as their data plane follows them for a trace."""
    node = look.node
    wanted = list(frontends)
    if not wanted or node.mode is None:
        return {}
    evidence = NodeEvidence(
        node_name=node.name,
        probes=probes.nodes[node.name],
        host=node.host,
        rulesets=node.rulesets,
        ipsets=node.ipsets,
        nft=node.nft,
        ipvs=node.ipvs,
    )
    found: dict[Frontend, Behaviour] = {}
    for family, network in _networks(look).items():
        mine = [item for item in wanted if item.family is family]
        if not mine:
            continue
        if node.mode is ProxyMode.USERSPACE:
            assert USERSPACE.follow is not None
            for frontend in mine:
                clients = network.clients(frontend.position, frontend.address)
                leaves = USERSPACE.follow(evidence, network, frontend, clients) if clients else []
                if leaves:
                    found[frontend] = Behaviour(cases=cases_of(leaves))
            continue
        candidates = of_family(evidence, family)
        ordered: tuple[Ruleset, ...] = tuple(candidates)
        if candidates and node.mode is not ProxyMode.NFTABLES:
            first, rest = choose(candidates)
            ordered = (first, *rest)
        # One walker for all of them: making it is what costs.
        found.update(behaviours_of(walker_of(evidence, network, ordered), network, dict.fromkeys(mine)))
    return found


def beside(expected: DataPlane, label: str) -> Iterator[Frontend]:
    """Frontends that an edit of a line may have made: near those whose address or port the line names."""
    seen = {(item.address, item.protocol, item.port) for item in expected.behaviours}
    for frontend in expected.behaviours:
        text = str(frontend.address)
        if text not in label and str(frontend.port) not in label:
            continue
        near = parse_address(other_address(text))
        assert near is not None
        variants = [(frontend.address, frontend.protocol, frontend.port + 1)]
        variants.append((frontend.address, OTHER_PROTOCOLS.get(frontend.protocol, Protocol.TCP), frontend.port))
        if text in label:
            variants.append((near, frontend.protocol, frontend.port))
        for address, protocol, number in variants:
            if (address, protocol, number) not in seen:
                yield structs.replace(frontend, address=address, protocol=protocol, port=number)


def _summed(outcome: Outcome) -> dict[object, float]:
    """Ends and shares as a packet can tell them apart: who rewrote its source it cannot, nor, once lost, whether."""
    shares: dict[object, float] = {}
    for fate, share in outcome.shares:
        end: object = fate.disposition
        if fate.disposition is Disposition.BACKEND:
            end = (fate.backend, fate.masquerade is Masquerade.NO, fate.affinity_s)
        shares[end] = shares.get(end, 0.0) + share
    return shares


def _alike(one: tuple[Outcome, ...], other: tuple[Outcome, ...]) -> bool:
    mine, theirs = [_summed(item) for item in one], [_summed(item) for item in other]

    def same(left: dict[object, float], right: dict[object, float]) -> bool:
        return left.keys() == right.keys() and all(abs(left[key] - right[key]) < 1e-6 for key in left)

    return all(any(same(left, right) for right in theirs) for left in mine) and all(
        any(same(left, right) for right in mine) for left in theirs
    )


def nothing_served(behaviour: Behaviour) -> bool:
    """True if no packet is stopped or led elsewhere."""
    return all(
        outcome.dispositions == {Disposition.UNTRANSLATED} for case in behaviour.cases for outcome in case.outcomes
    )


def is_changed(before: Behaviour | None, now: Behaviour | None) -> bool:
    """True if the fate of some packet is another one."""
    if before is None or now is None:
        there = now if before is None else before
        return there is not None and not nothing_served(there)
    return any(
        left.clients & right.clients and not _alike(left.outcomes, right.outcomes)
        for left in before.cases
        for right in now.cases
    )


def still_legal(expected: DataPlane, frontend: Frontend, real: Behaviour | None) -> bool:
    """True if what the damaged rules do is something that the expectation allows as well."""
    wanted = expected.behaviours.get(frontend)
    if wanted is None or real is None:
        return False
    return all(
        any(agree(outcome, legal) for legal in allowed.outcomes)
        for case in real.cases
        for allowed in wanted.cases
        if case.clients & allowed.clients
        for outcome in case.outcomes
    )


# -- what is told ----------------------------------------------------------------------------------------------------------


def _key(finding: Finding) -> tuple[object, ...]:
    return (
        finding.code,
        finding.severity,
        finding.title,
        finding.node,
        finding.service,
        finding.port,
        finding.frontend,
        finding.affected,
        finding.expected,
        finding.actual,
    )


def news(before: Look, now: Look) -> tuple[Finding, ...]:
    """What is told and was not before."""
    known = {_key(item) for item in before.findings}
    return tuple(item for item in now.findings if _key(item) not in known)


def names(finding: Finding, node: str, service: str | None, frontend: Frontend) -> bool:
    """True if a finding names the node, and the Service or (what rules show of a Service that is gone) its address.

    A node port is one address to kdiag, however many the node has.
    """
    nodes = {place.node for place in finding.places} | {finding.node}
    if node not in nodes:
        return False
    if service is not None and any(place.service == service and place.node in (node, None) for place in finding.places):
        return True
    if frontend.kind is FrontendKind.NODE_PORT:
        return re.search(rf"\b{frontend.port}/{frontend.protocol}\b", finding.message) is not None
    return frontend.label in finding.message or finding.frontend == frontend.label


def service_of(frontend: Frontend, *planes: Mapping[Frontend, Behaviour]) -> str | None:
    """The Service that a frontend belongs to, if any does."""
    for plane in planes:
        behaviour = plane.get(frontend)
        if behaviour is not None and behaviour.service_port is not None:
            return str(behaviour.service_port.service)
    if frontend.kind is FrontendKind.NODE_PORT:
        return None
    # A port that the Service does not have, at an address that it has.
    for plane in planes:
        for other, behaviour in plane.items():
            if other.address == frontend.address and behaviour.service_port and other.kind is frontend.kind:
                return str(behaviour.service_port.service)
    return None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A frontend of which some packet's fate is another one. `legal` if the expectation allows that as well."""

    frontend: Frontend
    service: str | None
    before: Behaviour | None
    now: Behaviour | None
    legal: bool
    named: bool = False


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of one edit."""

    subject: Subject
    probe: str
    edit: Edit
    now: Look
    changes: tuple[Change, ...]
    told: tuple[Finding, ...]
    """What is told and was not before; of an edit of the API, of the data plane alone: other checks look at the API."""

    @property
    def news(self) -> tuple[Finding, ...]:
        """Of that, what counts: warning or above."""
        return tuple(item for item in self.told if item.severity is not Severity.INFO)

    @property
    def title(self) -> str:
        """Enough to find it again."""
        edit = self.edit
        return f"{self.subject.name} {self.subject.node} {self.probe}: {edit.kind}, {edit.place}: {edit.label}"

    @property
    def unnamed(self) -> tuple[Change, ...]:
        """What changed and no finding names."""
        return tuple(item for item in self.changes if not item.named)

    @property
    def undecided(self) -> tuple[Gap, ...]:
        """Gaps that were not there before: "cannot tell" and the like."""
        return tuple(item for item in self.now.gaps if item not in self.subject.sound.gaps)


def judge(subject: Subject, probe: str, edit: Edit) -> Judgement:
    """Damage a file, and hold what is told against what changed."""
    snapshot = subject.damaged(probe, edit.make())
    now = look_at(snapshot, subject.node, subject.settle_s)
    told = news(subject.sound, now)
    if probe.startswith(API) or probe == "configz":
        changed = _asked_otherwise(subject, now)
        told = tuple(item for item in told if item.code.startswith(DATA_PLANE))
    else:
        changed = _done_otherwise(subject, snapshot, now, edit.label)
    serious = [item for item in told if item.severity is not Severity.INFO]
    changes = tuple(
        dataclasses.replace(
            item, named=any(names(found, subject.node, item.service, item.frontend) for found in serious)
        )
        for item in changed
    )
    return Judgement(subject=subject, probe=probe, edit=edit, now=now, changes=changes, told=told)


def _done_otherwise(subject: Subject, snapshot: Snapshot, now: Look, label: str) -> Iterator[Change]:
    """Frontends where the node's rules do something else than before."""
    sound = subject.sound
    before: dict[Frontend, Behaviour] = dict(sound.actual)
    after: dict[Frontend, Behaviour] = dict(now.actual)
    extra = list(dict.fromkeys((*beside(sound.expected, label), *(set(after) - set(before)))))
    lacking = [item for item in extra if item not in subject.walked]
    subject.walked.update(walk(sound, subject.snapshot, lacking))
    before.update({item: subject.walked[item] for item in extra if item in subject.walked})
    after = {**walk(now, snapshot, [item for item in {*before, *extra} if item not in after]), **after}
    for frontend in {**before, **after}:
        old, new = before.get(frontend), after.get(frontend)
        if is_changed(old, new):
            yield Change(
                frontend=frontend,
                service=service_of(frontend, before, sound.actual, now.actual),
                before=old,
                now=new,
                legal=still_legal(sound.expected, frontend, new),
            )


def _asked_otherwise(subject: Subject, now: Look) -> Iterator[Change]:
    """Frontends of which the API asks something else than before, that the node does not do."""
    wanted, before = now.expected.behaviours, subject.sound.expected.behaviours
    for frontend in {**before, **wanted}:
        old, new = before.get(frontend), wanted.get(frontend)
        if old is not None and new is not None and old.cases == new.cases and old.service_port == new.service_port:
            continue
        real = now.actual.get(frontend)
        if real is None:
            real = subject.sound.actual.get(frontend)
        if (new is None and real is not None and not nothing_served(real)) or (
            new is not None and real is not None and not still_legal(now.expected, frontend, real)
        ):
            service = service_of(frontend, wanted, before)
            yield Change(frontend=frontend, service=service, before=old, now=real, legal=False)
