"""Lines of dispatch chains: the quick look at usual ones reads what the thorough one does."""

from __future__ import annotations

import re

import pytest

from kdiag.parse import dispatch_lines
from kdiag.parse.dispatch_lines import DISPATCH, read_line, read_lines
from tests.corpus_fixtures import cluster

CLUSTERS = ("v1.20.2-iptables-legacy", "v1.36.2-iptables-nft", "dual-v1.36.2-iptables-nft")


@pytest.mark.parametrize("name", CLUSTERS)
def test_usual_lines_are_read_like_any(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chains = {b"-A " + chain for _, chain in DISPATCH}
    lines = {
        raw
        for probes in cluster(name).nodes.values()
        for probe, recording in probes.items()
        if probe.endswith("tables-save")
        for raw in recording.content.split(b"\n")
        if b" ".join(raw.split(b" ")[:2]) in chains
    }
    quick = {raw: read_line(raw, False) for raw in lines}
    monkeypatch.setattr(dispatch_lines, "_USUAL", re.compile(rb"(?!)"))
    assert quick == {raw: read_line(raw, False) for raw in lines}
    assert sum(found is not None for found in quick.values()) > 20


@pytest.mark.parametrize("without_address", [True, False])
def test_lines_that_follow_each_other_are_read_like_each_of_them(without_address: bool) -> None:
    lines = [
        b"-d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y",
        b'-d 10.96.0.2/32 -p tcp -m comment --comment "of \\"two\\"" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y',
        b"-p udp -m udp --dport 30053 -j KUBE-EXT-NPX46M4PTMTKRN6Y",
        b"-d 10.96.0.3/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6YX",
        b'-d 10.96.0.4/32 -p tcp -m comment --comment "-A KUBE-SERVICES -d 10.96.0.5/32" -m tcp --dport 1 -j REJECT',
        b'-d 10.96.0.6/32 -p udp -m comment --comment "usual" -m udp --dport 53 -j KUBE-SVC-NPX46M4PTMTKRN6Y',
        b"-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    ]
    raws = [b"-A KUBE-SERVICES " + line for line in lines]
    before = b":KUBE-SERVICES - [0:0]\n"
    text = b"\n".join([before[:-1], *raws, b"COMMIT", b""])
    start, ends = len(before), [len(before)]
    for raw in raws:
        ends.append(ends[-1] + len(raw) + 1)
    found = list(read_lines(text, (start, ends[-1]), without_address=without_address))
    assert found == list(zip(ends[1:], [read_line(raw, without_address) for raw in raws], strict=True))
    assert sum(read is not None for _, read in found) == 6 - (not without_address)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"-d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y", (b"10.96.0.1", b"tcp", b"443")),
        (b"-d fd00::1/128 -p udp -m udp --dport 53 -j KUBE-EXT-NPX46M4PTMTKRN6Y", (b"fd00::1", b"udp", b"53")),
        (b"-d 10.96.0.1/32 -p tcp -m udp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y", None),
        (b"-d 10.96.0.0/24 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y", None),
        (b"! -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y", (b"10.96.0.1", b"tcp", b"443")),
    ],
)
def test_what_stands_in_a_line(line: bytes, key: object) -> None:
    found = read_line(b"-A KUBE-SERVICES " + line, False)
    assert (found[0] if found is not None else None) == key
    if found is not None:
        assert found[1] == (b"! " if line.startswith(b"!") else b"") + b"\2 -j \3"
