"""Made-up clusters are what kube-proxy and a kernel would make of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.generator.cluster import Cluster, Options, make_cluster
from bench.generator.snapshot import PLANTED, write_snapshot
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.model.report import Severity
from kdiag.pipeline.flow import Scope, diagnose

MODES = ("iptables", "nftables", "ipvs")
SMALL = Options(services=60, endpoints=3, nodes=2, affinity=0.2, node_port=0.4, load_balancer=0.5, local=0.5, udp=0.2)


def _written(options: Options, directory: Path) -> Cluster:
    cluster = make_cluster(options)
    write_snapshot(cluster, directory)
    return cluster


def _accused(directory: Path) -> set[tuple[str | None, str | None]]:
    """(node, Service) of everything that is found at warning or above."""
    report = diagnose(read_snapshot(directory), Scope())
    accused: set[tuple[str | None, str | None]] = set()
    for finding in report.findings:
        if finding.severity in (Severity.ERROR, Severity.WARNING):
            named = [(item.node, item.service) for item in finding.affected]
            accused.update(named or [(finding.node, finding.service)])
    return accused


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_found_in_a_healthy_cluster(mode: str, tmp_path: Path) -> None:
    _written(replace(SMALL, mode=mode), tmp_path)
    report = diagnose(read_snapshot(tmp_path), Scope())
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []
    assert {gap.subject for gap in report.gaps} <= {"pods", "rules"}
    assert {gap.node for gap in report.gaps if gap.subject == "rules"} == {"node-0002"}


def test_nothing_is_found_in_a_large_healthy_cluster_without_comments(tmp_path: Path) -> None:
    cluster = _written(replace(SMALL, endpoints=20), tmp_path)
    assert cluster.large
    assert " -> " not in (tmp_path / "nodes/node-0000/iptables-save.txt").read_text()
    assert _accused(tmp_path) == set()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_planted_is_found_and_nothing_else(mode: str, tmp_path: Path) -> None:
    cluster = _written(replace(SMALL, mode=mode, plant=8, diff=0.05), tmp_path)
    assert {item.kind for item in cluster.wrong} == {
        "stale-endpoint",
        "missing-endpoint",
        "wrong-port",
        "missing-frontend",
    }
    stated: dict[str, Any] = json.loads((tmp_path / PLANTED).read_text())
    assert {(item["node"], item["service"]) for item in stated["wrong"]} == _accused(tmp_path)
    assert len({item.service for item in cluster.wrong if not item.different}) == 8


def test_the_same_options_make_the_same_bytes(tmp_path: Path) -> None:
    for place in ("a", "b"):
        _written(replace(SMALL, plant=2), tmp_path / place)
    for file in sorted((tmp_path / "a").rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_the_share_of_differing_lines_is_what_was_asked_for(tmp_path: Path) -> None:
    _written(Options(services=400, endpoints=10, nodes=2, diff=0.02, local=0), tmp_path)
    first, second = (
        set((tmp_path / f"nodes/node-000{number}/iptables-save.txt").read_text().splitlines()) for number in (0, 1)
    )
    assert 0.01 < len(second - first) / len(second) < 0.03


def test_more_pods_than_the_nodes_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="need at least 10 nodes"):
        make_cluster(Options(services=100, endpoints=10, cluster_nodes=5))


# The kernel prints the same


def _in_namespace(script: str, file: Path, needed: tuple[str, ...]) -> str:
    if os.geteuid() != 0 or not all(shutil.which(program) for program in ("unshare", *needed)):
        pytest.skip(f"needs root and {', '.join(needed)}")
    ran = subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", file], capture_output=True, text=True, check=False)
    if ran.returncode == 77 or "unshare:" in ran.stderr:
        pytest.skip(f"this kernel has not all of it: {ran.stderr[:300]}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _without_counters(text: str) -> list[str]:
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in text.splitlines() if not line.startswith("#")]


def _by_chain(lines: list[str]) -> dict[tuple[str, str], list[str]]:
    """The rules of each chain, in their order, by table and chain."""
    table, chains = "", {}
    for line in lines:
        if line.startswith("*"):
            table = line
        elif line.startswith(":"):
            chains[table, line.split()[0][1:]] = [line]
        elif line.startswith("-A "):
            chains[table, line.split()[1]].append(line)
    return chains


@pytest.mark.parametrize("endpoints", [3, 20], ids=["comments", "large"])
@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_iptables_prints_what_it_was_given(program: str, endpoints: int, tmp_path: Path) -> None:
    _written(replace(SMALL, endpoints=endpoints), tmp_path)
    file = tmp_path / "nodes/node-0000/iptables-save.txt"
    printed = _in_namespace(
        f'{program}-restore <"$1" || exit 77; {program}-save', file, (f"{program}-save", f"{program}-restore")
    )
    printed_lines, given = _without_counters(printed), _without_counters(file.read_text())
    if program == "iptables-nft":
        assert printed_lines == given
    # Another backend prints tables and built-in chains in another order.
    assert _by_chain(printed_lines) == _by_chain(given)


def test_nft_prints_what_it_was_given(tmp_path: Path) -> None:
    _written(replace(SMALL, mode="nftables"), tmp_path)
    directory = tmp_path / "nodes/node-0000"
    script = 'nft -f "$1" || exit 77; nft list ruleset; echo =; nft -j list ruleset'
    text, _, document = _in_namespace(script, directory / "nft-list-ruleset.txt", ("nft",)).partition("=\n")
    if 'comment "rules for kube-proxy"' not in text or '"version": "1.0.6"' not in document:
        pytest.skip("another release of nft prints the same in other words")
    assert text == (directory / "nft-list-ruleset.txt").read_text()

    def without_handles(printed: str) -> Any:
        return json.loads(re.sub(r'"handle": \d+', '"handle": 0', printed))

    assert without_handles(document) == without_handles((directory / "nft-j-list-ruleset.json").read_text())


def test_ipset_prints_what_it_was_given(tmp_path: Path) -> None:
    _written(replace(SMALL, mode="ipvs"), tmp_path)
    file = tmp_path / "nodes/node-0000/ipset-save.txt"
    printed = _in_namespace('ipset restore <"$1" || exit 77; ipset save', file, ("ipset",))
    assert sorted(printed.splitlines()) == sorted(file.read_text().splitlines())
