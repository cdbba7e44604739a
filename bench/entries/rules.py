"""B1, B1b, B2, B3, B8, B9: dumps of rules, judged by whole `kdiag` processes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench.generator.cluster import Options
from bench.measure import PYTHON, Cost, Gate, Row, in_turns, run
from bench.rig import Rig, kdiag, missing, planted_gate

_FIRST = "node-0000"
_PLANTED = 7


def _judge(snapshot: Path, *nodes: str) -> Cost:
    chosen = [word for node in nodes for word in ("--node", node)]
    return kdiag("check-rules", "--snapshot", str(snapshot), *chosen, "-o", "json", keep=True)


def large(rig: Rig, nodes: int = 1) -> Path:
    """The largest cluster, and the rules of so many nodes, of which all but the first differ in 0.5 % of their lines."""
    options = Options(services=rig.size(10_000), endpoints=25, nodes=nodes, diff=0.005, plant=_PLANTED)
    return rig.cluster(f"large-{nodes}", options)


def one_dump(rig: Rig) -> Iterator[Row]:
    """B1 and B1b: parse, expect and compare one dump, against what iptables itself needs to check its syntax."""
    lacking = missing("unshare", "iptables-nft-restore")
    for row_id, services, endpoints, must, goal in (
        ("B1", 10_000, 25, 0.10, 0.04),
        ("B1b", 10_000, 10, 0.25, 0.10),
        ("B1b", 1_000, 10, 1.5, 0.6),
    ):
        if row_id == "B1":
            snapshot = large(rig)
        else:
            options = Options(services=rig.size(services), endpoints=endpoints, plant=_PLANTED)
            snapshot = rig.cluster(f"{services}x{endpoints}", options)
        dump = snapshot / "nodes" / _FIRST / "iptables-save.txt"
        jobs = {
            "ours": lambda place=snapshot: _judge(place, _FIRST),
            "without": lambda place=snapshot: kdiag("check-rules", "--snapshot", str(place), "--no-nodes"),
        }
        if lacking is None:
            restore = ["unshare", "-n", "iptables-nft-restore", "--test", str(dump)]
            jobs["theirs"] = lambda command=restore: run(command)
        # What is short is measured often: the kernel's side of it differs most.
        rounds = rig.many if services <= 1_000 else rig.rounds
        costs = in_turns(jobs, rounds)
        theirs = costs["theirs"].cpu if lacking is None else float("nan")
        yield Row(
            id=row_id,
            what=f"judge one dump {services:,} x {endpoints} : iptables-nft-restore --test",
            ours=costs["ours"].cpu,
            theirs=theirs,
            ratio=costs["ours"].cpu / theirs,
            must=must,
            goal=goal,
            rounds=rounds,
            gates=(planted_gate(snapshot, costs["ours"].outputs[0], {_FIRST}),),
            note=f"not here: {lacking}"
            if lacking
            else f"start and API lists of the same size included, {costs['without'].cpu:.3g} s of it",
        )


def next_node(rig: Rig) -> Iterator[Row]:
    """B2: what one more node costs that differs in 0.5 % of its lines."""
    snapshot = large(rig, 4)
    several = [f"node-{number:04}" for number in range(4)]
    dump = snapshot / "nodes" / several[1] / "iptables-save.txt"
    hashing = f"import hashlib,time;d=open({str(dump)!r},'rb').read();hashlib.sha256(d[:999]);" + (
        "a=time.process_time();[hashlib.sha256(d).digest() for _ in range(5)];print((time.process_time()-a)/5)"
    )
    digests: list[float] = []

    def digest() -> Cost:
        cost = run([PYTHON, "-c", hashing], keep=True)
        digests.append(float(cost.output))
        return cost

    jobs = {"one": lambda: _judge(snapshot, several[0]), "four": lambda: _judge(snapshot, *several), "digest": digest}
    costs = in_turns(jobs, rig.rounds)
    per_node = [(four - one) / 3 for one, four in zip(costs["one"].cpu_s, costs["four"].cpu_s, strict=True)]
    ours, theirs = statistics.median(per_node), statistics.median(digests)
    yield Row(
        id="B2",
        what="one more node, 0.5 % of lines different, judged : hashlib.sha256 of its dump",
        ours=ours,
        theirs=theirs,
        ratio=ours / theirs,
        must=5,
        goal=2.5,
        rounds=rig.rounds,
        gates=(
            planted_gate(snapshot, costs["four"].outputs[0], set(several)),
            _merge_gate(snapshot / "nodes" / several[0] / "iptables-save.txt", dump),
        ),
        note="a third of what four nodes cost more than one",
    )


def _merge_gate(first: Path, other: Path) -> Gate:
    """Whether merging these dumps, and one of them with random edits, finds what a plain comparison finds."""
    told = run([PYTHON, "-m", "bench.merge", str(first), str(other)], keep=True).output
    try:
        found = json.loads(told)
    except ValueError:
        return Gate(name="the merge finds what a plain comparison finds", holds=False, detail=told.strip()[:200])
    return Gate(
        name="the merge finds what a plain comparison finds",
        holds=found["wrong"] == 0 and found["chains"] > 0,
        detail=f"{found['chains']:,} chains, {found['edits']} edited stretches",
    )


def memory(rig: Rig) -> Iterator[Row]:
    """B3: peak RSS of one dump against its size, and of ten dumps against two."""
    snapshot, several = large(rig), large(rig, 10)
    nodes = [f"node-{number:04}" for number in range(10)]
    size_bytes = (snapshot / "nodes" / _FIRST / "iptables-save.txt").stat().st_size
    one = _judge(snapshot, _FIRST)
    two, ten = _judge(large(rig, 2), *nodes[:2]), _judge(several, *nodes)
    mib = 1 << 20
    yield Row(
        id="B3",
        what="peak RSS : size of one dump",
        ours=one.rss_bytes / mib,
        theirs=size_bytes / mib,
        ratio=one.rss_bytes / size_bytes,
        must=3,
        goal=1.5,
        unit="MiB",
        gates=(planted_gate(snapshot, one.output, {_FIRST}),),
        note="API lists of the same size included",
    )
    yield Row(
        id="B3",
        what="peak RSS of ten differing dumps : of two",
        ours=ten.rss_bytes / mib,
        theirs=two.rss_bytes / mib,
        ratio=ten.rss_bytes / two.rss_bytes,
        must=1.3,
        goal=1.1,
        unit="MiB",
        gates=(planted_gate(several, ten.output, set(nodes)),),
    )


def nftables(rig: Rig) -> Iterator[Row]:
    """B8: a node in nftables mode from `nft -j`, against reading the JSON alone."""
    options = Options(services=rig.size(10_000), endpoints=10, mode="nftables", plant=_PLANTED)
    snapshot = rig.cluster("nftables", options)
    document = snapshot / "nodes" / _FIRST / "nft-j-list-ruleset.json"
    loads = [PYTHON, "-c", f"import json;json.loads(open({str(document)!r}).read())"]
    costs = in_turns({"ours": lambda: _judge(snapshot, _FIRST), "theirs": lambda: run(loads)}, rig.rounds)
    yield Row(
        id="B8",
        what="nftables 10,000 x 10 from nft -j, judged : json.loads of the same file",
        ours=costs["ours"].cpu,
        theirs=costs["theirs"].cpu,
        ratio=costs["ours"].cpu / costs["theirs"].cpu,
        must=6,
        goal=3,
        rounds=rig.rounds,
        gates=(planted_gate(snapshot, costs["ours"].outputs[0], {_FIRST}),),
        note="API lists of the same size included",
    )


def tracing(rig: Rig) -> Iterator[Row]:
    """B9: `kdiag trace` of one Service in the largest snapshot, against judging it."""
    snapshot = large(rig)
    service = "team-001/service-00001"
    trace = ("trace", service, "--snapshot", str(snapshot), "--node", _FIRST, "-o", "json")
    jobs = {"ours": lambda: kdiag(*trace, keep=True), "theirs": lambda: _judge(snapshot, _FIRST)}
    costs = in_turns(jobs, rig.rounds)
    try:
        schema = json.loads(costs["ours"].outputs[0])["schema"]
    except (ValueError, KeyError):
        schema = "none"
    yield Row(
        id="B9",
        what="kdiag trace of one Service, 10,000 x 25 : B1",
        ours=costs["ours"].cpu,
        theirs=costs["theirs"].cpu,
        ratio=costs["ours"].cpu / costs["theirs"].cpu,
        must=0.5,
        goal=0.1,
        rounds=rig.rounds,
        gates=(Gate(name="a trace is printed", holds=schema == "kdiag/trace/v1", detail=schema),),
    )
