"""Values of facts in canonical spelling."""

from __future__ import annotations

from kdiag.model.facts import FactKind
from kdiag.parse.fact_values import make_fact, parse_port_range


def test_port_ranges() -> None:
    assert parse_port_range("30000-32767") == (30000, 32767)
    assert parse_port_range("30000+10") == (30000, 30010)
    assert parse_port_range(" 80 ") == (80, 80)
    for text in ("", "a-b", "20-10", "1-70000", "1+70000", "-", "123456"):
        assert parse_port_range(text) is None


def test_values_that_are_none() -> None:
    for kind, text in (
        (FactKind.SERVICE_RANGE, ""),
        (FactKind.SERVICE_RANGE, "10.0.0.0/8,$(X)"),
        (FactKind.NODE_PORT_RANGE, "x"),
        (FactKind.CLUSTER_DNS, "x"),
    ):
        assert make_fact(kind, "c", text, flag="f", source="s") is None
    mode = make_fact(FactKind.PROXY_MODE, "c", "ipvs", flag="f", source="s")
    assert mode is not None
    assert mode.value == "ipvs"
