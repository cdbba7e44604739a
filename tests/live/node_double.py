"""Nodes for tests: a transport that answers with recorded dumps in the script's own framing, or fails as a node does."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import NodeAddress, Output, TransportEntry
from kdiag.model.snapshot import Recording

ABOUT = b"uid=0\nuser=root\nsudo=not needed\niptables-save=/usr/sbin/iptables-save\nip=/usr/sbin/ip\nss=/usr/bin/ss\nps=/bin/ps\n"


def framed(probes: Mapping[str, Recording], nonce: str, *, about: bytes = ABOUT) -> bytes:
    """What the node script prints, uncompressed."""
    mark = f"kdiag:{nonce}:".encode()
    out = [mark + b"stream:plain\n"]

    def part(file: str, content: bytes, status: int = 0, stderr: str = "") -> None:
        out.append(b"\n" + mark + b"begin:" + file.encode() + b"\n" + content)
        out.append(b"\n" + mark + f"end:{status}\n{stderr}\n".encode() + mark + b"done\n")

    part("kdiag-node.txt", about)
    for recording in probes.values():
        file = recording.source.rpartition("/")[2].removesuffix(".gz")
        if not file.startswith("argv"):  # the script prints it in another form
            part(file, recording.content, recording.exit_status or 0, recording.stderr)
    out.append(b"\n" + mark + b"rules\n" + mark + b"stop\n")
    return b"".join(out)


class NodeDouble:
    """All nodes of a recording. Change `nodes` or `failures` while it runs; `on_run` is told who is asked, and how often."""

    def __init__(self, nodes: Mapping[str, Mapping[str, Recording]]) -> None:
        self.nodes = {node: dict(probes) for node, probes in nodes.items()}
        self.failures: dict[str, BaseException] = {}
        self.about: dict[str, bytes] = {}
        self.runs: Counter[str] = Counter()
        self.addresses: list[NodeAddress] = []
        self.settings: SshSettings | None = None
        self.closed = 0
        self.on_run: Callable[[str, int], None] = lambda node, times: None
        self._lock = threading.Lock()

    def entry(self, slug: str = "ssh") -> TransportEntry:
        """For the registry of transports."""

        def make(settings: SshSettings) -> NodeDouble:
            self.settings = settings
            return self

        return TransportEntry(slug=slug, make=make)

    def run(
        self,
        address: NodeAddress,
        script: str,
        *,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        answer: Callable[[bytes], bytes] | None = None,
    ) -> Output:
        """See Transport.run."""
        with self._lock:
            self.runs[address.node] += 1
            self.addresses.append(address)
            self.on_run(address.node, self.runs[address.node])
        on_bytes(0)
        if address.node in self.failures:
            raise self.failures[address.node]
        match = re.search(r"^nonce='([0-9a-f]{32})'$", script, re.MULTILINE)
        assert match is not None
        only_check = "only='check'" in script
        stdout = framed(
            {} if only_check else self.nodes[address.node], match[1], about=self.about.get(address.node, ABOUT)
        )
        on_bytes(len(stdout))
        return Output(stdout=stdout, exit_status=0)

    def close(self) -> None:
        """See Transport.close."""
        self.closed += 1
