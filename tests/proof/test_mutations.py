"""One node's dump, damaged in every way a line can be: whatever changes the fate of a packet must be found.

Ground truth is the walk itself: the data plane read from the damaged dump, against the one read from the sound dump.
Where they differ, some difference must be reported at the Services concerned; where they do not, nothing may be. (That
the walk is right is shown elsewhere, by packets: tests/test_ground_truth.py.)

A seeded sample is run. KDIAG_MUTATIONS=all runs every mutation, KDIAG_MUTATIONS=N a sample of N for each cluster.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from kdiag.compare import compare
from kdiag.compare.outcomes import agree
from kdiag.model.addresses import Family
from kdiag.model.dataplane import Behaviour, DataPlane, Disposition, Frontend, FrontendKind, Outcome
from kdiag.model.difference import CauseKind, Comparison
from kdiag.model.facts import FactKind
from kdiag.model.host import HostFacts
from kdiag.model.snapshot import Recording
from kdiag.model.view import NodeView
from kdiag.pipeline.nodes import read_evidence
from kdiag.pipeline.viewing import build_view
from kdiag.planes.interface import PlaneReading, ReadingOrder
from kdiag.planes.iptables import PLANE
from kdiag.walk.network import NodeNetwork, node_network
from tests.corpus_fixtures import cluster

NODE = "node01"
SAMPLE = 36
SEED = 20

# A condition of the rules themselves is told even where nothing suffers from it today: the next Service will.
STRUCTURAL = frozenset(
    {
        CauseKind.NEVER_WROTE,
        CauseKind.FLUSHED,
        CauseKind.BASE_JUMP,
        CauseKind.NODE_PORT_DISPATCH,
        CauseKind.MASQUERADE_RULE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A recorded node, one family of it, and what its packets ought to meet."""

    name: str
    family: Family
    probe: str
    host: HostFacts
    probes: dict[str, Recording]
    order: ReadingOrder
    expected: DataPlane
    sound: DataPlane

    @property
    def text(self) -> str:
        return self.probes[self.probe].text()

    def read(self, text: str) -> PlaneReading:
        recording = dataclasses.replace(self.probes[self.probe], content=text.encode())
        evidence = read_evidence(NODE, {self.probe: recording}, self.host)
        assert PLANE.read is not None
        return PLANE.read(evidence, self.order)

    def compared(self, text: str) -> tuple[DataPlane, Comparison]:
        reading = self.read(text)
        found = compare(
            self.expected, reading.data_plane, conditions=reading.conditions, filter_seen=reading.filter_seen
        )
        return reading.data_plane, found


@cache
def subject(name: str, family: Family) -> Subject:
    snapshot = cluster(name)
    view = build_view(snapshot, nodes=(NODE,))[0]
    node: NodeView = view.node_by_name[NODE]
    assert node.expected is not None
    assert node.config is not None
    network: NodeNetwork = node_network(
        family,
        node.host,
        node.node,
        view.cluster.pods_by_node[NODE],
        view.facts.networks(FactKind.SERVICE_RANGE),
    )
    mine = {frontend: item for frontend, item in node.expected.behaviours.items() if frontend.family is family}
    expected = DataPlane(node=NODE, behaviours=mine)
    local_range = node.config.cluster_cidr(family)
    order = ReadingOrder(
        expected=expected,
        networks={family: network},
        version=node.version,
        local_ranges={family: local_range} if local_range else {},
    )
    probe = "ip6tables-save" if family is Family.IPV6 else "iptables-save"
    empty = Subject(
        name=name,
        family=family,
        probe=probe,
        host=node.host,
        probes=dict(snapshot.nodes[NODE]),
        order=order,
        expected=expected,
        sound=DataPlane(node=NODE, behaviours={}),
    )
    return dataclasses.replace(empty, sound=empty.read(empty.text).data_plane)


# -- mutations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mutant:
    kind: str
    line: int
    label: str
    text: str


def _chain(line: str) -> str | None:
    return line.split(" ", 2)[1] if line.startswith("-A ") else None


def _other_address(address: str) -> str:
    head, separator, last = address.rpartition(":" if ":" in address else ".")
    return f"{head}{separator}{'77' if last != '77' else '78'}"


def _changed_lines(line: str) -> Iterator[tuple[str, str]]:
    """Every way in which one rule may say something else."""
    for option in ("-d", "-s"):
        for each in re.finditer(rf"(?:^|(?<= )){option} ([0-9a-f.:]+)(/\d+)", line):
            at = each.start(1), each.end(1)
            yield f"{option} address", line[: at[0]] + _other_address(each[1]) + line[at[1] :]
    for each in re.finditer(r"--dport (\d+)", line):
        yield "port", line[: each.start(1)] + str(int(each[1]) + 1) + line[each.end(1) :]
    if match := re.search(r" -p (tcp|udp|sctp) ", line):
        other = {"tcp": "udp", "udp": "tcp", "sctp": "tcp"}[match[1]]
        yield "protocol", line.replace(f" -p {match[1]} ", f" -p {other} ").replace(f" -m {match[1]} ", f" -m {other} ")
    if match := re.search(r"--probability ([0-9.]+)", line):
        yield "probability", line[: match.start(1)] + "0.90000000000" + line[match.end(1) :]
        yield "no probability", line.replace(f" -m statistic --mode random {match[0]}", "")
    if match := re.search(r"--to-destination (\[?[0-9a-f.:]+?\]?):(\d+)$", line):
        bare = match[1].strip("[]")
        yield "DNAT address", line[: match.start(1)] + match[1].replace(bare, _other_address(bare)) + f":{match[2]}"
        yield "DNAT port", line[: match.start(2)] + str(int(match[2]) + 1)
    for each in re.finditer(r"--(?:mark|set-xmark) (0x[0-9a-f]+)/(0x[0-9a-f]+)", line):
        yield "mark", line[: each.start(1)] + "0x10000" + line[each.end(1) :]
        yield "mask", line[: each.start(2)] + "0x10000" + line[each.end(2) :]
    if "! " in line:
        yield "negation", line.replace("! ", "", 1)
    if match := re.search(r"--seconds (\d+)", line):
        yield "affinity time", line[: match.start(1)] + "17" + line[match.end(1) :]
    if match := re.search(r" -j (\S+)(.*)$", line):
        for target in ("RETURN", "DROP", "ACCEPT"):
            if match[1] != target:
                yield f"target {target}", line[: match.start()] + f" -j {target}"


def mutants(text: str) -> Iterator[Mutant]:
    """Every mutation of a dump, in the order of its lines."""
    lines = text.splitlines()
    table = ""
    for index, line in enumerate(lines):
        number = index + 1
        if line.startswith("*"):
            table = line[1:]
        if table not in ("nat", "filter"):
            continue

        def made(kind: str, changed: list[str], label: str = line, number: int = number) -> Mutant:
            return Mutant(kind=kind, line=number, label=label, text="\n".join(changed) + "\n")

        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            if policy == "ACCEPT":
                dropping = line.replace(" ACCEPT ", " DROP ")
                yield made("policy", [*lines[:index], dropping, *lines[index + 1 :]])
            elif policy == "-":
                end = lines.index("COMMIT", index)
                own = {i for i in range(index, end) if _chain(lines[i]) == name}
                yield made("chain deleted", [item for i, item in enumerate(lines) if i not in {*own, index}])
                if own:
                    yield made("chain emptied", [item for i, item in enumerate(lines) if i not in own])
            continue
        chain = _chain(line)
        if chain is None:
            continue
        yield made("rule deleted", [*lines[:index], *lines[index + 1 :]])
        yield made("rule doubled", [*lines[: index + 1], *lines[index:]])
        if index + 1 < len(lines) and _chain(lines[index + 1]) == chain:
            yield made("rules swapped", [*lines[:index], lines[index + 1], line, *lines[index + 2 :]])
        for kind, changed in _changed_lines(line):
            if changed != line:
                yield made(kind, [*lines[:index], changed, *lines[index + 1 :]])


# -- ground truth --------------------------------------------------------------------------------------------------


def _alike(one: tuple[Outcome, ...], other: tuple[Outcome, ...]) -> bool:
    """True if a packet cannot tell the two apart. What happens to the source of a lost packet is of no interest."""

    def summed(outcomes: tuple[Outcome, ...]) -> list[dict[object, float]]:
        found = []
        for outcome in outcomes:
            shares: dict[object, float] = {}
            for fate, share in outcome.shares:
                delivered = fate.disposition is Disposition.BACKEND
                end = fate if delivered else fate.disposition
                shares[end] = shares.get(end, 0.0) + share
            found.append(shares)
        return found

    mine, theirs = summed(one), summed(other)
    return len(mine) == len(theirs) and all(
        left.keys() == right.keys() and all(abs(left[key] - right[key]) < 1e-6 for key in left)
        for left, right in zip(mine, theirs, strict=True)
    )


def _nothing_served(behaviour: Behaviour) -> bool:
    return all(
        outcome.dispositions == {Disposition.UNTRANSLATED} for case in behaviour.cases for outcome in case.outcomes
    )


def changed_frontends(sound: DataPlane, damaged: DataPlane) -> tuple[Frontend, ...]:
    """The frontends at which the fate of some packet is another one."""
    found = []
    for frontend in {**sound.behaviours, **damaged.behaviours}:
        before, now = sound.behaviours.get(frontend), damaged.behaviours.get(frontend)
        if before is None or now is None:
            there = now if before is None else before
            if there is not None and not _nothing_served(there):
                found.append(frontend)
            continue
        if any(
            left.clients & right.clients and not _alike(left.outcomes, right.outcomes)
            for left in before.cases
            for right in now.cases
        ):
            found.append(frontend)
    return tuple(found)


def still_legal(expected: DataPlane, damaged: DataPlane, frontend: Frontend) -> bool:
    """True if what the damaged rules do is something that the expectation allows as well."""
    wanted, real = expected.behaviours.get(frontend), damaged.behaviours.get(frontend)
    if wanted is None or real is None:
        return False
    return all(
        any(agree(outcome, legal, filter_seen=True) for legal in allowed.outcomes)
        for case in real.cases
        for allowed in wanted.cases
        if case.clients & allowed.clients
        for outcome in case.outcomes
    )


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one mutant. `tolerated` are changed frontends whose new fate is legal too."""

    mutant: Mutant
    changed: tuple[Frontend, ...]
    tolerated: tuple[Frontend, ...]
    unnamed: tuple[Frontend, ...]
    undecided: bool
    causes: frozenset[CauseKind]

    @property
    def missed(self) -> bool:
        """True if the fate of some packet changed and no difference tells."""
        return bool(self.unnamed)

    @property
    def false_alarm(self) -> bool:
        """True if nothing changed and yet a difference is told."""
        return not self.changed and bool(self.causes - STRUCTURAL)

    @property
    def legal_all_the_same(self) -> bool:
        """True if something changed to what is as good."""
        return bool(self.changed) and set(self.changed) == set(self.tolerated)


def judged(on: Subject, mutant: Mutant) -> Result:
    """Damage the dump, and hold what is reported against what changed."""
    damaged, comparison = on.compared(mutant.text)
    causes = frozenset(group.cause for group in comparison.groups)
    never_wrote = CauseKind.NEVER_WROTE in causes
    changed = () if never_wrote else changed_frontends(on.sound, damaged)
    tolerated = tuple(frontend for frontend in changed if still_legal(on.expected, damaged, frontend))
    named = {item.frontend for group in comparison.groups for item in group.differences}
    unnamed = tuple(frontend for frontend in changed if frontend not in named and frontend not in tolerated)
    return Result(
        mutant=mutant,
        changed=changed,
        tolerated=tolerated,
        unnamed=unnamed,
        undecided=bool(comparison.unclear),
        causes=causes,
    )


# -- the tests -----------------------------------------------------------------------------------------------------

SUBJECTS = (
    ("v1.20.2-iptables-nft", Family.IPV4),
    ("v1.36.2-iptables-nft", Family.IPV4),
    ("dual-v1.36.2-iptables-nft", Family.IPV6),
)


def chosen(every: list[Mutant]) -> list[Mutant]:
    """The mutants to run: one of each kind, and a seeded sample of all."""
    wanted = os.environ.get("KDIAG_MUTATIONS", "")
    if wanted == "all":
        return every
    size = int(wanted) if wanted.isdigit() else SAMPLE
    draw = random.Random(SEED)
    shuffled = draw.sample(every, len(every))
    first = list({item.kind: item for item in reversed(shuffled)}.values())
    rest = [item for item in shuffled if item not in first]
    return [*first, *rest][: max(size, len(first))]


def _tolerated_by_release(on: Subject, frontend: Frontend) -> bool:
    """What is legal in more than one way: up to 1.24 the drop of a load balancer's other clients is left to a mark that
    kubelet's rules act upon; up to 1.20 it hangs on br_netfilter whether a pod reaches an external IP."""
    version = on.order.version
    assert version is not None
    if frontend.kind is FrontendKind.LOAD_BALANCER_IP:
        return version <= (1, 24)
    return frontend.kind is FrontendKind.EXTERNAL_IP and version <= (1, 20)


@pytest.mark.parametrize(("name", "family"), SUBJECTS)
def test_what_changes_a_packets_fate_is_found_and_nothing_else(name: str, family: Family) -> None:
    on = subject(name, family)
    results = [judged(on, mutant) for mutant in chosen(list(mutants(on.text)))]
    assert [_words(item) for item in results if item.missed] == []
    assert [_words(item) for item in results if item.false_alarm] == []
    # No mutation makes a rule that cannot be understood.
    assert [_words(item) for item in results if item.undecided] == []
    assert [
        _words(item) for item in results if any(not _tolerated_by_release(on, frontend) for frontend in item.tolerated)
    ] == []
    changed = [item for item in results if item.changed]
    # The sample proves something: most mutations matter, and some do not.
    assert len(changed) > len(results) / 2
    assert len(changed) < len(results)
    alike = sum(1 for item in changed if item.legal_all_the_same)
    print(f"{name} {family}: {len(results)} mutants, {len(changed)} changed something, {alike} of them legally")


def _words(result: Result) -> str:
    mutant = result.mutant
    where = sorted({f"{item.label} ({item.position})" for item in (result.unnamed or result.tolerated)})
    return f"{mutant.kind}, line {mutant.line}: {mutant.label}: {', '.join(where[:4])}; {sorted(result.causes)}"


@pytest.mark.parametrize(("name", "family"), SUBJECTS)
def test_the_sound_dump_has_no_difference(name: str, family: Family) -> None:
    on = subject(name, family)
    data_plane, comparison = on.compared(on.text)
    assert (comparison.groups, comparison.unclear) == ((), ())
    assert changed_frontends(on.sound, data_plane) == ()
    assert len(data_plane.behaviours) > 200


def test_every_kind_of_mutation_is_made() -> None:
    kinds = Counter(mutant.kind for mutant in mutants(subject(*SUBJECTS[1]).text))
    assert set(kinds) == {
        "rule deleted", "rule doubled", "rules swapped", "chain deleted", "chain emptied", "policy",
        "-d address", "-s address", "port", "protocol", "probability", "no probability", "DNAT address", "DNAT port",
        "mark", "mask", "negation", "affinity time", "target RETURN", "target DROP", "target ACCEPT",
    }  # fmt: skip
