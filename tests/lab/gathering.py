"""Asks nodes of the lab as the commands do, and looks at what is left on them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from kdiag.gather.fanout import gather_nodes
from kdiag.gather.script import Sudo
from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import NodeAddress, transport_of
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording
from tests.lab.nodes import Lab, LabNode

Gathered = tuple[dict[str, dict[str, Recording]], dict[str | None, Gap]]


def settings(lab: Lab, known: Sequence[LabNode] = (), **changes: object) -> SshSettings:
    """Logs in as root with the lab's key; the host keys of `known` are known, those of no other node."""
    file = lab.directory / f"known_hosts_{time.monotonic_ns()}"
    file.write_text("".join(f"{node.address} {node.host_key()}\n" for node in known))
    empty = lab.directory / "ssh_config"
    empty.touch()
    made = SshSettings(
        user="root",
        key_file=str(lab.key),
        known_hosts=(file,),
        config_file=empty,
        use_agent=False,
        connect_timeout_s=1.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gather(
    nodes: Sequence[LabNode | NodeAddress],
    given: SshSettings,
    *,
    parallel: int = 8,
    timeout_s: float = 20,
    deadline_s: float | None = None,
    sudo: Sudo = Sudo.IF_NEEDED,
    cancelled: threading.Event | None = None,
    max_bytes: int = 4 * 1024 * 1024,
) -> Gathered:
    """The recordings by node and the gap of each node; no node may have two."""
    transport = transport_of("ssh", given)
    try:
        recordings, gaps = gather_nodes(
            [
                node if isinstance(node, NodeAddress) else NodeAddress(node=node.node, host=node.address)
                for node in nodes
            ],
            transport,
            parallel=parallel,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            progress=None,
            sudo=sudo,
            cancelled=cancelled or threading.Event(),
            max_bytes=max_bytes,
        )
    finally:
        transport.close()
    by_node = {gap.node: gap for gap in gaps}
    assert len(by_node) == len(gaps)
    return recordings, by_node


def settled(node: LabNode, wanted: str, patience_s: float = 5) -> str:
    """The node's processes, as soon as they are what they were."""
    deadline = time.monotonic() + patience_s
    while (found := node.state()["processes"]) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def settled_state(node: LabNode, before: dict[str, str]) -> dict[str, str]:
    """The node's state without counters, as soon as its processes are what they were `before`."""
    settled(node, before["processes"])
    return without_counters(node.state())


def without_counters(state: dict[str, str]) -> dict[str, str]:
    return {key: re.sub(r"packets \d+ bytes \d+", "", text) for key, text in state.items()}
