"""Chains that jump into themselves, which no kernel takes and a dump may say all the same."""

from __future__ import annotations

import pytest

from kdiag.model.dataplane import Disposition
from kdiag.walk import chains
from tests.walk import setting


@pytest.mark.parametrize(
    "rules",
    [
        "nat -A PREROUTING -j U\nnat -A U -m mark --mark 0x0/0x1 -j U",
        "nat -A PREROUTING -j U\nnat -A U -j V\nnat -A V -g U",
    ],
)
def test_a_loop_is_not_followed(rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_STEPS", 20)
    monkeypatch.setattr(chains, "MAX_STEPS_PER_RULE", 0)
    assert {leaf.fate.disposition for leaf in setting.leaves(setting.dump(rules))} == {Disposition.UNKNOWN}


def test_a_chain_may_be_entered_twice_one_after_the_other() -> None:
    rules = (
        "nat -A PREROUTING -j U\nnat -A PREROUTING -j U\nnat -A PREROUTING -j DNAT --to-destination 10.244.1.9:80\n"
        "nat -A U -j MARK --set-xmark 0x1/0x1"
    )
    assert {leaf.fate.disposition for leaf in setting.leaves(setting.dump(rules))} == {Disposition.BACKEND}
