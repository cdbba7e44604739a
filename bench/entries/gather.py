"""B7: gathering nodes over SSH, against as many bare connects and execs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from statistics import median

from bench.measure import PYTHON, Gate, Row
from bench.rig import Rig

_MIB = 1024


def real_servers(rig: Rig) -> Iterator[Row]:
    """B7 with real sshd: see bench/gather.py."""
    nodes = rig.size(200)
    command = [PYTHON, "-m", "bench.gather", "--json", "--nodes", str(nodes), "--rounds", str(rig.rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        measured = json.loads(done.stdout)
    except ValueError:
        measured = None
    if measured is None:
        gate = Gate(name="measured", holds=False, detail=done.stdout.strip()[:200])
        nan = float("nan")
        yield Row(id="B7", what=_WHAT, ours=nan, theirs=nan, ratio=nan, must=2, goal=1.2, gates=(gate,))
        return
    ours, theirs = (median(item["cpu_s"] for item in measured[kind]) / nodes * 1000 for kind in ("kdiag", "bare"))
    answered = min(item["answered"] for item in measured["kdiag"])
    gaps = max(len(item["gaps"]) for item in measured["kdiag"])
    growth = max(item["rss_peak_kib"] - item["rss_before_kib"] for item in measured["kdiag"]) / _MIB
    yield Row(
        id="B7",
        what=_WHAT.replace("200", str(nodes)),
        ours=ours,
        theirs=theirs,
        ratio=ours / theirs,
        must=2,
        goal=1.2,
        unit="ms a node",
        rounds=rig.rounds,
        gates=(
            Gate(
                name="every node answered without a gap",
                holds=answered == nodes and not gaps,
                detail=f"{answered} of {nodes}, {gaps} gaps",
            ),
        ),
        note=f"memory grows by {growth:.0f} MiB",
    )


_WHAT = "200 real sshd gathered : bare paramiko, connect and exec"
