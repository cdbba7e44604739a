"""Figure 2: recorded nodes and the API beside them are damaged; what changes a packet's fate must be told, and no more.

Every file that says what a node does is damaged in every way (`*_edits`), and every list of the API is changed so that it
asks for something else than the rules do. `judging` tells what changed and what is told, `equivalents` where the two may
differ.

KDIAG_MUTATIONS=all tries every mutant (hours), KDIAG_MUTATIONS=N so many of each recording; else it is as many as the time
allows, and at least one of each kind for each recording.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from msgspec import structs

from kdiag.model.snapshot import Snapshot
from tests.corpus_fixtures import (
    HEALTHY_IPTABLES,
    HEALTHY_IPVS,
    HEALTHY_NFTABLES,
    HEALTHY_OVERLAYS,
    NO_FAULTS_IPVS,
    cluster,
    fault,
)
from tests.older_nftables import nft_text
from tests.proof.api_edits import DECISIVE, api_edits, configz_edits
from tests.proof.edits import Edit
from tests.proof.equivalents import SILENCES, WORDS, silence_about, word_without_change
from tests.proof.figure import Figure
from tests.proof.iptables_edits import iptables_edits
from tests.proof.ipvs_edits import device_edits, ipset_edits, ipvsadm_edits, listener_edits
from tests.proof.judging import API, Judgement, Subject, judge, subject_of
from tests.proof.nft_edits import nft_edits, nft_text_edits

NAME = "mutants of recordings"
AS_TEXT = " as text"
RECORDINGS = (
    *HEALTHY_IPTABLES,
    *HEALTHY_OVERLAYS,
    *HEALTHY_NFTABLES,
    *(f"{name}{AS_TEXT}" for name in HEALTHY_NFTABLES),
    *HEALTHY_IPVS,
    *NO_FAULTS_IPVS,
    "v1.20.2-userspace-nft",
)
"""Every recording in which every Service works; those in nftables mode also as `nft list ruleset` prints them as text."""
EDITS: dict[str, Callable[[str], Iterator[Edit]]] = {
    "iptables-save": iptables_edits,
    "ip6tables-save": iptables_edits,
    "nft-j-list-ruleset": nft_edits,
    "nft-list-ruleset": nft_text_edits,
    "ipvsadm-save-n": ipvsadm_edits,
    "ipset-save": ipset_edits,
    "ip-addr": device_edits,
    "ss-ltnH": listener_edits,
    "configz": configz_edits,
}
"""How each file of a node is damaged."""
API_LISTS = ("services", "endpointslices-v1", "endpointslices-v1beta1", "pods", "nodes", "kube-system-configmaps")


@cache
def recording(name: str) -> Snapshot:
    """A recording by its name in RECORDINGS."""
    if name in (*HEALTHY_OVERLAYS, *NO_FAULTS_IPVS):
        return fault(name)
    if not name.endswith(AS_TEXT):
        return cluster(name)
    snapshot = cluster(name.removesuffix(AS_TEXT))
    nodes = {}
    for node, probes in snapshot.nodes.items():
        listed = probes["nft-j-list-ruleset"]
        source = listed.source.replace("nft-j-list-ruleset.json", "nft-list-ruleset.txt")
        text = nft_text(name.removesuffix(AS_TEXT), node)
        rest = {probe: item for probe, item in probes.items() if probe != "nft-j-list-ruleset"}
        nodes[node] = {**rest, "nft-list-ruleset": listed.replaced(source=source, content=text.encode())}
    return structs.replace(snapshot, nodes=nodes)


def damaged_files(name: str) -> tuple[str, ...]:
    """Which files of a recording's nodes say what they do, and which lists of the API what they ought to."""
    files = ["configz"]
    if "nftables" in name:
        files.append("nft-list-ruleset" if name.endswith(AS_TEXT) else "nft-j-list-ruleset")
    else:
        files += ["iptables-save", "ip6tables-save"]
    if "ipvs" in name or name in NO_FAULTS_IPVS:
        files += ["ipvsadm-save-n", "ipset-save", "ip-addr"]
    if "userspace" in name:
        files.append("ss-ltnH")
    # What prints the rules does not matter to the API: it is changed beside the JSON of the same recording.
    lists = () if name.endswith(AS_TEXT) else API_LISTS
    return (*files, *(f"{API}{kind}" for kind in lists))


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file of a node and how it is damaged."""

    probe: str
    edit: Edit

    @property
    def kind(self) -> tuple[str, str]:
        """What is damaged, and how."""
        return self.probe, self.edit.kind


def mutants(name: str, node: str) -> list[Mutant]:
    """Every mutant of one node of a recording. A dual-stack cluster has both families' rules in files of their own."""
    snapshot = recording(name)
    found: list[Mutant] = []
    for probe in damaged_files(name):
        kind = probe.removeprefix(API)
        if kind != probe:
            item = snapshot.api.get(kind)
            edits = api_edits(kind, item.text()) if item is not None else iter(())
        else:
            item = snapshot.nodes[node].get(probe)
            edits = EDITS[probe](item.text()) if item is not None else iter(())
        found += (Mutant(probe, edit) for edit in edits)
    return found


def in_order(every: list[Mutant], seed: str) -> tuple[list[Mutant], list[Mutant]]:
    """One of each kind, and the rest; both shuffled."""
    draw = random.Random(seed)
    shuffled = draw.sample(every, len(every))
    first = {item.kind: item for item in reversed(shuffled)}
    chosen = {id(item) for item in first.values()}
    return draw.sample(list(first.values()), len(first)), [item for item in shuffled if id(item) not in chosen]


# -- one recording -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What came of the mutants of one recording."""

    name: str
    size: int = 0
    tried: int = 0
    changing: int = 0
    found: int = 0
    missed: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    equivalents: Counter[str] = field(default_factory=Counter)

    def add(self, judgement: Judgement) -> None:
        """Count one."""
        self.tried += 1
        self.changing += bool(judgement.changes)
        silences = [(item, silence_about(judgement, item)) for item in judgement.unnamed]
        unexplained = [item for item, name in silences if name is None]
        if unexplained:
            where = sorted({f"{item.frontend.label} from {item.frontend.position}" for item in unexplained})
            told = [item.code for item in judgement.news]
            gaps = [item.subject for item in judgement.undecided]
            text = f"{judgement.title}: {', '.join(where[:4])}; told: {told}, gaps: {gaps[:2]}"
            (self.undecided if gaps else self.missed).append(text)
        elif judgement.changes:
            self.found += 1
            self.equivalents.update({name for _, name in silences if name is not None})
        elif judgement.news:
            name = word_without_change(judgement)
            if name is None:
                told = [f"{item.code} {item.severity} {item.service}" for item in judgement.news]
                self.false_alarms.append(f"{judgement.title}: {told}")
            else:
                self.equivalents[name] += 1
        if judgement.probe.startswith(API) and _ought_to_change(judgement) and not judgement.changes:
            self.missed.append(f"{judgement.title}: nothing else is expected than before")

    @property
    def wrong(self) -> list[str]:
        """All that ought not to be."""
        return [
            *(f"missed: {text}" for text in self.missed),
            *(f"false alarm: {text}" for text in self.false_alarms),
            *(f"cannot tell: {text}" for text in self.undecided),
        ]


def _ought_to_change(judgement: Judgement) -> bool:
    """True for edits of the API that change some packet's fate whatever kdiag thinks of them: the Service is served here."""
    service = judgement.edit.label.removesuffix("-copy")
    if judgement.edit.kind not in DECISIVE:
        return False
    if judgement.edit.kind == "affinity changed":
        # Of no consequence for a Service that reaches no endpoint from here; and the proxy process keeps it for itself.
        return False
    served = {
        str(item.service_port.service)
        for item in judgement.subject.sound.expected.behaviours.values()
        if item.service_port is not None
    }
    return service in served


def try_recording(name: str, seed: int, until: Callable[[int, int], bool], *, all_nodes: bool = False) -> Tally:
    """Judge mutants of one node (drawn) or of all. `until(tried, kinds)` says when it is enough; every kind comes first."""
    snapshot, tally = recording(name), Tally(name)
    nodes = random.Random(f"{seed}/{name}").sample(sorted(snapshot.nodes), len(snapshot.nodes))
    for node in nodes:
        if tally.size and not all_nodes:
            break
        # These were read a few seconds after the API had changed: nothing would be judged yet.
        on: Subject = subject_of(name, snapshot, node, 0.0 if name in NO_FAULTS_IPVS else 30.0)
        if any(gap.subject.startswith("not settled") for gap in on.sound.gaps):
            # The API moved on while this node was read: what is wrong there is said another time.
            continue
        every = mutants(name, node)
        first, rest = in_order(every, f"{seed}/{name}/{node}")
        tally.size += len(every)
        for tried, mutant in enumerate((*first, *rest)):
            if until(tried, len(first)):
                break
            tally.add(judge(on, mutant.probe, mutant.edit))
    return tally


# -- the figure ----------------------------------------------------------------------------------------------------------


def _share(given: tuple[tuple[str, ...], int, float, str]) -> list[Tally]:
    """The recordings of one process."""
    recordings, seed, budget_s, wish = given
    tallies = []
    start = time.monotonic()
    for number, name in enumerate(recordings, 1):
        end = start + budget_s * number / len(recordings)

        def until(tried: int, kinds: int, end: float = end) -> bool:
            if wish == "all":
                return False
            if wish.isdigit():
                return tried >= int(wish)
            return tried >= kinds and time.monotonic() > end

        tallies.append(try_recording(name, seed, until, all_nodes=wish == "all"))
    return tallies


def tallies_of(names: tuple[str, ...], budget_s: float, seed: int, wish: str) -> list[Tally]:
    """All recordings, by as many processes as there are processors."""
    processes = min(os.cpu_count() or 1, len(names))
    shares = [(names[at::processes], seed, budget_s, wish) for at in range(processes)]
    if processes == 1:
        found = _share(shares[0])
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            found = [tally for part in pool.map(_share, shares, chunksize=1) for tally in part]
    return sorted(found, key=lambda tally: names.index(tally.name))


def details_of(tallies: list[Tally], wish: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines of the figure, and what is wrong with it."""
    total = Counter[str]()
    for tally in tallies:
        total.update(tally.equivalents)
    lines = [
        f"{item.name}: {item.tried:,} of {item.size:,} mutants, {item.changing:,} fate-changing, {item.found:,} found, "
        f"{len(item.missed)} missed, {len(item.false_alarms)} false alarms"
        + (f", {len(item.undecided)} not decided" if item.undecided else "")
        for item in tallies
    ]
    lines += [f"right in silence: {item.name} ({total[item.name]}): {item.reason}" for item in SILENCES]
    lines += [f"told all the same: {item.name} ({total[item.name]}): {item.reason}" for item in WORDS]
    wrong = [text for item in tallies for text in item.wrong]
    if wish == "all":
        never = [item.name for item in (*SILENCES, *WORDS) if not total[item.name]]
        wrong += [f"never occurred: {name}" for name in never]
    return tuple(lines), tuple(wrong)


def run(budget_s: float, seed: int) -> Figure:
    """A stratified sample of the mutants of every recording within the budget; all of them if KDIAG_MUTATIONS=all."""
    wish = os.environ.get("KDIAG_MUTATIONS", "")
    tallies = tallies_of(RECORDINGS, budget_s, seed, wish)
    details, complaints = details_of(tallies, wish)
    return Figure(
        NAME,
        sum(tally.tried for tally in tallies),
        len(complaints),
        details=details,
        complaints=complaints,
        wanted=sum(len({item.kind for item in mutants(name, sorted(recording(name).nodes)[0])}) for name in RECORDINGS)
        if not wish
        else 1,
    )
