from __future__ import annotations

import pytest

from kdiag.checks.conntrack_full import CHECK
from kdiag.model.host import HostFacts
from kdiag.model.report import Severity
from tests.checks.builders import node_view, view


@pytest.mark.parametrize(
    ("count", "maximum", "severity"),
    [
        ("95", "100", Severity.WARNING),
        ("100", "100", Severity.ERROR),
        ("90", "100", None),
        ("95", "0", None),
        ("95", None, None),
        (None, "100", None),
        ("many", "100", None),
    ],
)
def test_how_full_it_is(count: str | None, maximum: str | None, severity: Severity | None) -> None:
    sysctls = {
        name: value
        for name, value in (
            ("net.netfilter.nf_conntrack_count", count),
            ("net.netfilter.nf_conntrack_max", maximum),
        )
        if value is not None
    }
    host = HostFacts(sysctls=sysctls, sources={"sysctls": "nodes/node01/sysctl.txt"})
    findings = list(CHECK.run(view(nodes=[node_view(host=host)])))
    assert [finding.severity for finding in findings] == ([severity] if severity else [])
    for finding in findings:
        assert (finding.code, finding.node) == ("KD411", "node01")
        assert finding.evidence[0].source == "nodes/node01/sysctl.txt"
