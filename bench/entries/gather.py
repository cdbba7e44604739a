"""B7: gathering nodes over SSH, against as many bare connects and execs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from statistics import median

from bench.entries.rules import large
from bench.measure import PYTHON, Gate, Row, run
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
    gaps = max((item["gaps"] for item in measured["kdiag"]), key=len)
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
                detail=f"{answered} of {nodes}, {'; '.join([f'{len(gaps)} gaps', *gaps[:2]])}",
            ),
        ),
        note=f"memory grows by {growth:.0f} MiB",
    )
    yield from _simulated(rig, theirs)


def _simulated(rig: Rig, bare_ms: float) -> Iterator[Row]:
    """B7 at the transport seam: what 5,000 nodes of one class cost beside the connect and exec that each needs anyway."""
    nodes, few = rig.size(5_000), rig.size(500)
    dump = large(rig) / "nodes/node-0000/iptables-save.txt"
    snapshot = rig.directory / "simulated"
    play = [PYTHON, "-m", "bench.simulate", str(dump)]
    one = json.loads(run([*play, str(few)], keep=True).output)
    all_nodes = json.loads(run([*play, str(nodes), "--write", str(snapshot)], keep=True).output)
    rig.forget("simulated")
    theirs = bare_ms / 1000 * nodes
    ours = theirs + all_nodes["cpu_s"]
    growth = all_nodes["rss_bytes"] / one["rss_bytes"]
    yield Row(
        id="B7",
        what=f"{nodes:,} nodes of one class, played at the transport seam, and as many bare connects and execs : the latter",
        ours=ours,
        theirs=theirs,
        ratio=ours / theirs,
        must=2,
        goal=1.2,
        gates=(
            Gate(
                name="one dump was sent and held for all, without a gap",
                holds=all_nodes["answered"] == nodes
                and all_nodes["alike"] == all_nodes["sent"] == 1
                and not all_nodes["gaps"],
                detail=f"{all_nodes['answered']:,} nodes, {all_nodes['sent']} dumps sent",
            ),
            Gate(
                name=f"memory does not grow with nodes, snapshot written (peak RSS against {few:,} nodes)",
                holds=growth < 1.5,
                detail=f"{growth:.2f}, {all_nodes['rss_bytes'] / (1 << 20):.0f} MiB",
            ),
        ),
        note=f"writing the snapshot took {all_nodes['write_cpu_s']:.0f} s",
    )


_WHAT = "200 real sshd gathered : bare paramiko, connect and exec"
