"""The checks of Services and proxies on recordings of real clusters: what they say, and above all what they do not."""

from __future__ import annotations

from functools import cache

import pytest

from kdiag.checks import all_checks
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import HEALTHY_IPTABLES, HEALTHY_OVERLAYS, OTHER_MODES, cluster, fault

WITHOUT_POD = {"default/no-eps", "default/no-eps-np"}
NOT_USABLE = {"default/not-ready"}
TERMINATING = {"default/term-all"}
ONE_FAMILY = {"default/only4-dual", "default/only6-dual", "default/only6-dual-np"}


@cache
def recorded(name: str) -> View:
    return build_view(fault(name) if name in HEALTHY_OVERLAYS else cluster(name))[0]


def findings(view: View, family: str) -> list[Finding]:
    return [finding for check in all_checks() if check.code.startswith(family) for finding in check.run(view)]


@pytest.mark.parametrize("name", [*HEALTHY_IPTABLES, *OTHER_MODES, *HEALTHY_OVERLAYS])
def test_healthy_clusters(name: str) -> None:
    view = recorded(name)
    assert [(item.code, item.node, item.message) for item in findings(view, "KD4")] == []

    services = {item.code: set[str]() for item in findings(view, "KD3")}
    for item in findings(view, "KD3"):
        assert item.service is not None
        assert item.severity is (Severity.INFO if item.code == "KD308" else Severity.WARNING)
        services[item.code].add(item.service)
    old = name.startswith("v1.20")
    dual = name.startswith("dual-")
    expected = {
        "KD301": WITHOUT_POD | ({"team-a/web"} if dual else set()),
        "KD302": NOT_USABLE | (TERMINATING if old or name in HEALTHY_OVERLAYS else set()),
    }
    if dual:
        expected["KD308"] = ONE_FAMILY
    assert services == expected


@pytest.mark.parametrize(("name", "node"), [("a-stale-node", "node02"), ("g-empty-tables", "node01")])
def test_a_stopped_proxy(name: str, node: str) -> None:
    found = findings(build_view(fault(name))[0], "KD4")
    assert [(item.code, item.node, item.severity) for item in found] == [("KD401", node, Severity.WARNING)]


def test_a_proxy_that_runs_beside_old_rules_is_not_called_stopped() -> None:
    assert findings(build_view(fault("h-split-brain"))[0], "KD4") == []
