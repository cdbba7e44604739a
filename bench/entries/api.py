"""B4: reading Services, EndpointSlices and Nodes, against the official client's model classes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from bench.measure import PYTHON, Gate, Row, in_turns, run
from bench.rig import Rig


def reading(rig: Rig) -> Iterator[Row]:
    """B4: CPU and RSS of whole processes, the import of the client included on both sides."""
    size = ["--services", str(rig.size(10_000)), "--nodes", str(rig.size(5_000))]
    with subprocess.Popen(
        [PYTHON, "-m", "bench.api_server", *size], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().strip()
        read = [PYTHON, "-m", "bench.api_read"]
        jobs = {who: lambda who=who: run([*read, who, url], keep=True) for who in ("kdiag", "official")}
        costs = in_turns(jobs, rig.rounds)
        server.stdin.close()
    ours, theirs = costs["kdiag"], costs["official"]
    told = {line for side in (ours, theirs) for line in side.outputs}
    counts = json.loads(min(told)) if len(told) == 1 else {}
    gate = Gate(
        name="both hold the same numbers of objects",
        holds=bool(counts),
        detail=", ".join(f"{count:,} {name}" for name, count in counts.items()),
    )
    yield Row(
        id="B4",
        what="CPU: models of the official client : kdiag's reader",
        ours=ours.cpu,
        theirs=theirs.cpu,
        ratio=theirs.cpu / ours.cpu,
        must=15,
        goal=35,
        sense="at least",
        rounds=rig.rounds,
        gates=(gate,),
    )
    yield Row(
        id="B4",
        what="peak RSS: models of the official client : kdiag's reader",
        ours=ours.rss / (1 << 20),
        theirs=theirs.rss / (1 << 20),
        ratio=theirs.rss / ours.rss,
        must=3,
        goal=7,
        sense="at least",
        unit="MiB",
        rounds=rig.rounds,
        gates=(gate,),
    )
