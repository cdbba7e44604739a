"""What a scope lets through, and in which order."""

from __future__ import annotations

import gc
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from kdiag.errors import TargetError, UsageError
from kdiag.gather.snapshot_writer import write_snapshot
from kdiag.model.facts import FactKind
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap, GapKind, Report
from kdiag.model.view import View
from kdiag.pipeline import flow
from kdiag.pipeline.flow import Scope, collect_settings, diagnose, open_snapshot
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, fault

STALE = "a-stale-node"


@cache
def report(scope: Scope) -> Report:
    return diagnose(fault(STALE), scope)


def codes(scope: Scope) -> set[str]:
    return {finding.code for finding in report(scope).findings}


EVERYTHING = Scope()
RULES = Scope(select=("KD2",))


def test_a_report_counts_what_was_judged() -> None:
    found = report(EVERYTHING)
    assert (found.cluster, found.nodes_known, found.nodes_judged) == (STALE, 3, 3)
    assert found.modes == dict.fromkeys(("controlplane", "node01", "node02"), "iptables")
    assert found.services_judged > 20
    assert found.frontends_judged > 600
    assert found.server_version == "v1.20.2"


def test_findings_and_gaps_are_in_order() -> None:
    found = report(EVERYTHING)
    ranks = [(finding.severity.rank, finding.code, finding.node or "") for finding in found.findings]
    assert ranks == sorted(ranks)
    kinds = [list(GapKind).index(gap.kind) for gap in found.gaps]
    assert kinds == sorted(kinds)


def test_select_and_ignore() -> None:
    assert codes(EVERYTHING) >= codes(RULES)
    assert {code[:3] for code in codes(RULES)} == {"KD2"}
    assert codes(Scope(select=("KD2",), ignore=("KD2",))) == set()
    some = sorted(codes(RULES))[0]
    assert some not in codes(Scope(ignore=(some,)))
    assert codes(Scope(select=(some,))) == {some}


def test_services_and_namespaces_narrow_findings_on_services_only() -> None:
    everything = report(EVERYTHING).findings
    nowhere = report(Scope(namespace="no-such-namespace")).findings
    assert all(finding.service is None and not any(item.service for item in finding.affected) for finding in nowhere)
    about = ObjectKey(namespace="default", name="no-eps")
    narrowed = report(Scope(services=(about,))).findings
    assert {finding.service for finding in narrowed} <= {None, "default/no-eps"}
    assert len(nowhere) < len(narrowed) < len(everything)
    assert len(report(Scope(namespace="default")).findings) > len(narrowed)


@pytest.mark.parametrize(
    "scope",
    [Scope(services=(ObjectKey(namespace="default", name="no-such"),)), Scope(nodes=("node99",))],
)
def test_a_scope_that_names_what_is_not_there(scope: Scope) -> None:
    with pytest.raises(TargetError):
        diagnose(fault(STALE), scope)


def test_without_a_check_that_looks_at_nodes_their_gaps_are_left_out() -> None:
    snapshot = cluster("v1.36.2-iptables-nft")
    partial = structs.replace(snapshot, nodes={"node01": snapshot.nodes["node01"]})
    gaps = diagnose(partial, RULES).gaps
    assert {gap.node for gap in gaps} == {"controlplane", "node02"}
    assert diagnose(partial, Scope(select=("KD301",))).gaps == ()


def test_settings() -> None:
    facts = collect_settings(cluster("v1.36.2-iptables-nft"))
    assert [str(network) for network in facts.networks(FactKind.SERVICE_RANGE)] == ["10.96.0.0/12"]


def test_opening_a_snapshot(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no snapshot was named"):
        open_snapshot(None, demo=False)
    assert open_snapshot(None, demo=True).nodes
    where = tmp_path / "snapshot"
    write_snapshot(cluster("v1.30.3-iptables-nft"), where)
    assert open_snapshot(where, demo=False).nodes.keys() == cluster("v1.30.3-iptables-nft").nodes.keys()


@pytest.mark.parametrize("last", [False, True])
def test_what_the_last_run_made_is_left_for_whoever_looks_for_circles(
    last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[Any]] = []

    def watched(*given: Any, **options: Any) -> tuple[View, tuple[Gap, ...]]:
        view, gaps = build_view(*given, **options)
        seen.append(weakref.ref(next(item.cluster_ips[0] for item in view.cluster.services if item.cluster_ips)))
        return view, gaps

    monkeypatch.setattr(flow, "build_view", watched)
    gc.disable()
    try:
        diagnose(cluster("v1.36.2-iptables-nft"), Scope(last=last))
        assert (seen[0]() is not None) is last
        gc.collect()
        assert seen[0]() is None
    finally:
        gc.enable()
