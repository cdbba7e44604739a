"""How long kdiag takes to give a node up, and what it says: each failure by itself, made for real.

`pytest -s tests/lab/test_giving_up.py` prints the table; with KDIAG_LAB_DEFAULTS=1 in the environment it is that of the
time-outs and limits that the commands have unless told otherwise, which takes some minutes.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kdiag.gather.fanout import MAX_BYTES
from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import NodeAddress
from tests.lab.gathering import gather, settings, settled
from tests.lab.nodes import END_SSHD, NETWORK, PLAIN_USER, USER, Lab, LabNode

DEFAULTS = "KDIAG_LAB_DEFAULTS" in os.environ
TIMEOUT_S = 60.0 if DEFAULTS else 3.0
CONNECT_S = SshSettings().connect_timeout_s if DEFAULTS else 1.5
SLACK_S = 20.0
"""What a busy machine may add."""


@dataclass(frozen=True)
class Failure:
    """A failure: the node that has it, what the gap says, whether some of the node's data is used all the same."""

    slug: str
    says: str
    subject: str = "node"
    node: dict[str, Any] = field(default_factory=dict)
    sshd: bool = True
    is_known: bool = True
    user: str = USER
    key_file: str | None = None
    known_hosts: Callable[[LabNode, str], str] = lambda node, line: line
    before: Callable[[LabNode], object] = lambda node: None
    connect_s: float = CONNECT_S
    timeout_s: float = TIMEOUT_S
    limit_s: float = 0.0
    max_bytes: int = MAX_BYTES
    is_used: bool = False


def dropping(node: LabNode) -> None:
    node.run_in_network("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP")


def other_key(node: LabNode, line: str) -> str:
    """The line with the key of somebody else."""
    words = (node.directory.parent / "id_ed25519.pub").read_text().split()
    return f"{node.address} {words[0]} {words[1]}\n"


def save(script: str) -> dict[str, Any]:
    return {"programs": {"iptables-save": script}}


FAILURES = (
    Failure("refused", "port 22 refuses connections", sshd=False),
    # The kernel gives up to find the address after three seconds.
    Failure(
        "unreachable", "cannot be reached: No route to host", sshd=False, connect_s=10.0, timeout_s=20.0, limit_s=5
    ),
    Failure("packets dropped", "port 22 does not answer within", sshd=False, before=dropping, limit_s=CONNECT_S),
    Failure("host key unknown", "the host key of .* is not known: it shows ssh-ed25519 SHA256:", is_known=False),
    Failure("host key changed", "the host key of .* has changed: it shows", known_hosts=other_key),
    Failure("host key revoked", "is revoked in", known_hosts=lambda node, line: f"@revoked {line}"),
    Failure("authentication", f"does not let {USER} in", key_file="/dev/null"),
    Failure("no sudo", f"{PLAIN_USER} may not run .*iptables-save", subject="sudo", user=PLAIN_USER, is_used=True),
    Failure(
        "no iptables",
        "there is no iptables-save on the node",
        subject="iptables-save",
        node={"hide": ["iptables-save"]},
        is_used=True,
    ),
    Failure(
        "time-out",
        "given up after .* while it read iptables-save",
        node=save("while echo '-A KUBE-SERVICES -j RETURN'; do sleep 0.2; done"),
        limit_s=TIMEOUT_S,
    ),
    Failure("hung", "given up after .* while it read iptables-save", node=save("sleep 1000"), limit_s=TIMEOUT_S),
    Failure("cut mid-dump", "the connection was cut after .* while it read iptables-save", node=save(END_SSHD)),
    Failure(
        "5 GB of noise",
        "it sent more than" if not DEFAULTS else "it is longer than 256 MiB",
        subject="node" if not DEFAULTS else "nodes/5-gb-of-noise/iptables-save.txt",
        node=save("head -c 5000000000 /dev/urandom"),
        max_bytes=MAX_BYTES if DEFAULTS else 4 << 20,
        limit_s=120,
        is_used=DEFAULTS,
    ),
    Failure(
        "5 GB of zeros",
        "it is longer than 256 MiB and was cut off there",
        subject="nodes/5-gb-of-zeros/iptables-save.txt",
        node=save("head -c 5000000000 /dev/zero"),
        timeout_s=20,
        limit_s=60,
        is_used=True,
    ),
    Failure("non-UTF-8", "", node=save("printf '# \\377\\376\\n'; exec iptables-nft-save"), is_used=True),
    Failure("login banner", "", node={"banner": "Keep out\n", "bashrc": "echo Welcome; printf more"}, is_used=True),
)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    print(f"\nfailure, seconds until given up (--node-timeout {TIMEOUT_S:g}), message")
    print("\n".join(lines))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.slug.replace(" ", "-"))
def test_time_and_message(lab: Lab, table: list[str], failure: Failure) -> None:
    slug = failure.slug.replace(" ", "-").lower()
    node = lab.start(slug, sshd=failure.sshd, **failure.node)
    failure.before(node)
    address = NodeAddress(node=slug, host=node.address, user=failure.user, key_file=failure.key_file)
    if failure.slug == "unreachable":
        address = replace(address, host=f"{NETWORK}.250")
    given = settings(lab, [node] if failure.sshd and failure.is_known else (), connect_timeout_s=failure.connect_s)
    known = given.known_hosts[0]
    known.write_text(failure.known_hosts(node, known.read_text()))
    before = node.state()["processes"] if failure.sshd else ""

    started = time.monotonic()
    recordings, gaps = gather([address], given, timeout_s=failure.timeout_s, max_bytes=failure.max_bytes)
    elapsed_s = time.monotonic() - started

    gap = gaps.get(slug)
    told = textwrap.shorten(gap.reason, 400) if gap is not None else "no gap: the data is used"
    table.append(f"| {failure.slug} | {elapsed_s:.1f} | {told} |")
    assert elapsed_s < failure.limit_s + SLACK_S
    assert bool(recordings) is failure.is_used
    if failure.says:
        assert gap is not None
        assert gap.subject == failure.subject
        assert re.search(failure.says, gap.reason), gap.reason
    else:
        assert gaps == {}
        assert b"KUBE-SERVICES" in recordings[slug]["iptables-save"].content
    if failure.is_used:
        assert recordings[slug]["ip-addr"].content
    if failure.sshd:
        assert settled(node, before) == before
