"""A few runs of the simulated cluster."""

from __future__ import annotations

import pytest

from tests.proof.churn import simulate
from tests.proof.churn_cluster import App, rules


@pytest.mark.parametrize("number", range(3))
def test_a_run(number: int) -> None:
    assert simulate(f"test/{number}").complaints == []


def test_rules_of_a_state() -> None:
    app = App("web", "10.96.0.9", 30080, ("10.244.1.2", "10.244.2.3"))
    text = rules({"web": app}, {"web": app}, None)
    assert "--probability 0.50000000000" in text
    assert text.count("--to-destination") == 2
    assert "REJECT" not in text
