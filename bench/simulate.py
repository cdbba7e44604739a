"""Gathers nodes that are played at the transport seam: `python -m bench.simulate DUMP NODES [--write DIR]`.

The node script runs twice on this host, with an iptables-save that prints DUMP: once its dump is wanted and once it is not.
What it printed is then played for every node, block by block and with the answers that kdiag gives, so that everything is
done but connecting and moving bytes. Prints CPU, memory, and how many nodes sent their dump.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_NONCE = "0123456789abcdef" * 2
_BLOCK = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """CPU in seconds of gathering (and of writing the snapshot, 0 if it was not written), peak RSS in bytes."""

    cpu_s: float
    write_cpu_s: float
    rss_bytes: int
    answered: int
    alike: int
    gaps: int
    sent: int


class Played:
    """A transport that plays what a node printed, as far as it would have without an answer, and the rest behind it."""

    def __init__(self, wanted: bytes, unwanted: bytes) -> None:
        self._outputs = {b"send\n": wanted, b"done\n": unwanted}
        self.sent = 0

    def run(
        self,
        address: object,
        script: str,
        *,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        answer: Callable[[bytes], bytes] | None = None,
    ) -> object:
        from kdiag.gather.transports.interface import Output

        assert answer is not None
        # Both begin alike, up to the first question.
        output = self._outputs[b"done\n"]
        position, decided = 0, False
        while position < len(output):
            block = output[position : position + _BLOCK]
            if not decided:
                mark = output.find(b":ask:", position, position + _BLOCK + 64)
                if mark >= 0:
                    block = output[position : output.index(b"\n", mark) + 1]
            said = answer(block)
            on_bytes(len(block))
            position += len(block)
            if said and not decided:
                decided = True
                self.sent += said == b"send\n"
                output = self._outputs[said]
        return Output(stdout=output, exit_status=0)

    def close(self) -> None:
        pass


def _record(dump: Path, first_answer: bytes) -> bytes:
    """What the script prints with this answer to its first question; the others are always wanted, and empty."""
    from kdiag.gather.framing import encodings
    from kdiag.gather.script import Sudo, node_script
    from kdiag.gather.transports.interface import NodeAddress
    from kdiag.gather.transports.local import LocalTransport

    with tempfile.TemporaryDirectory() as directory:
        for name, body in {
            "iptables": 'echo "iptables v1.8.9 (legacy)"',
            "iptables-save": f'cat "{dump.resolve()}"',
            "ip6tables": 'echo "ip6tables v1.8.9 (nf_tables)"',
            "ip6tables-save": "true",
        }.items():
            program = Path(directory) / name
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        answers = iter([first_answer])

        def answer(block: bytes) -> bytes:
            return b"".join(next(answers, b"send\n") for _ in range(block.count(b":ask:")))

        script = node_script(nonce=_NONCE, encodings=encodings(), sudo=Sudo.NEVER, guarded=True, asks=True)
        script = script.replace("legacy_tables() {", "legacy_tables() { return 0;")
        transport = LocalTransport(("env", f"PATH={directory}:{os.environ['PATH']}", "/bin/sh"))
        output = transport.run(
            NodeAddress(node="n", host="here"),
            script,
            timeout_s=120,
            max_bytes=1 << 30,
            on_bytes=lambda count: None,
            answer=answer,
        )
    return output.stdout


def simulate(dump: Path, number_of_nodes: int, write: Path | None) -> Simulated:
    from kdiag.gather import fanout
    from kdiag.gather.redact import redact_nodes
    from kdiag.gather.script import Sudo
    from kdiag.gather.snapshot_writer import write_snapshot
    from kdiag.gather.transports.interface import NodeAddress
    from kdiag.model.snapshot import Snapshot

    vars(fanout)["new_nonce"] = lambda: _NONCE
    transport = Played(_record(dump, b"send\n"), _record(dump, b"done\n"))
    before_s = _cpu_s()
    recordings, gaps = fanout.gather_nodes(
        [NodeAddress(node=f"node-{number:04}", host="here") for number in range(number_of_nodes)],
        transport,  # type: ignore[arg-type]
        parallel=1,
        timeout_s=600,
        deadline_s=None,
        progress=None,
        sudo=Sudo.NEVER,
        cancelled=threading.Event(),
        asks=True,
    )
    nodes = redact_nodes(recordings)
    cpu_s = _cpu_s() - before_s
    alike = len({id(probes["iptables-save"].content) for probes in nodes.values()})
    if write is not None:
        before_s = _cpu_s()
        write_snapshot(Snapshot(name="simulated", nodes=nodes, gaps=gaps), write)
    return Simulated(
        cpu_s=cpu_s,
        write_cpu_s=_cpu_s() - before_s if write is not None else 0.0,
        rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        answered=len(nodes),
        alike=alike,
        gaps=len(gaps),
        sent=transport.sent,
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dump", type=Path)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--write", type=Path, help="put the nodes into a snapshot there, too")
    given = parser.parse_args()
    print(json.dumps(asdict(simulate(given.dump, given.nodes, given.write))))


if __name__ == "__main__":
    main()
