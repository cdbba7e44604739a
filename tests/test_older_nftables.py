"""Releases whose nftables rules look otherwise and do the same."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model.report import Severity
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline import Scope, diagnose
from tests.corpus_fixtures import cluster
from tests.older_nftables import as_written_by_1_31, nft_text

PODS = {"ip": "10.244.0.0/16", "ip6": "fd00:10:244::/56"}
# Services that the recordings leave without usable endpoints.
ENDPOINTS_ONLY = ("KD3",)


def older(name: str) -> Snapshot:
    """A recording with the rules of an older release, as text."""
    snapshot = cluster(name)
    nodes = {}
    for node, probes in snapshot.nodes.items():
        recording = probes["nft-j-list-ruleset"]
        text = as_written_by_1_31(nft_text(name, node), PODS)
        assert "hairpin-connections" not in text
        assert "numgen random mod 2 vmap" in text
        rest = {probe: item for probe, item in probes.items() if probe != "nft-j-list-ruleset"}
        source = recording.source.replace("nft-j-list-ruleset.json", "nft-list-ruleset.txt")
        nodes[node] = {**rest, "nft-list-ruleset": recording.replaced(source=source, content=text.encode())}
    return structs.replace(snapshot, nodes=nodes)


@pytest.mark.parametrize("name", ["v1.36.2-nftables-nft", "dual-v1.36.2-nftables-nft"])
def test_the_rules_of_1_31_do_what_those_of_1_36_do(name: str) -> None:
    report = diagnose(older(name), Scope())
    serious = [
        f"{item.code} {item.message}"
        for item in report.findings
        if item.severity is not Severity.INFO and not item.code.startswith(ENDPOINTS_ONLY)
    ]
    assert serious == []
    assert report.nodes_judged == 3


def test_a_hairpin_rule_that_is_missing_is_found() -> None:
    snapshot = older("v1.36.2-nftables-nft")
    recording = snapshot.nodes["node01"]["nft-list-ruleset"]
    line = "\t\tip saddr 10.244.1.3 jump mark-for-masquerade\n"
    assert line in recording.text()
    edited = recording.replaced(content=recording.text().replace(line, "").encode())
    nodes = {**snapshot.nodes, "node01": {**snapshot.nodes["node01"], "nft-list-ruleset": edited}}
    found = [
        item
        for item in diagnose(structs.replace(snapshot, nodes=nodes), Scope()).findings
        if item.code.startswith("KD2")
    ]
    assert {item.code for item in found} == {"KD214"}
    assert {item.node for item in found} == {"node01"}
    services = {item.service for item in found} | {place.service for item in found for place in item.affected}
    assert "default/local-cluster" in services
