from __future__ import annotations

from dataclasses import replace

from kdiag.model.facts import Facts
from kdiag.render.style import Style
from kdiag.render.text_facts import facts_text
from tests.render.samples import FACTS


def test_settings_by_kind() -> None:
    assert facts_text(FACTS, Style(width=160)) == (
        "Service range  (2 values)\n"
        "  VALUE          COMPONENT                NODE          STATED BY\n"
        "  10.100.0.0/16  kube-controller-manager  controlplane  --service-cluster-ip-range in nodes/controlplane/ps-ef.txt:8\n"
        "  10.96.0.0/12   kube-apiserver           controlplane  --service-cluster-ip-range in nodes/controlplane/ps-ef.txt:7\n"
        "\n"
        "Pod range\n"
        "  VALUE          COMPONENT   NODE  STATED BY\n"
        "  10.244.0.0/16  kube-proxy        clusterCIDR in cluster/kube-system-configmaps.json\n"
        "\n"
        "3 settings of 3 components\n"
    )


def test_a_narrow_terminal_gets_two_lines_for_each() -> None:
    lines = facts_text(FACTS, Style(width=80, cut=True)).splitlines()
    assert lines[:3] == [
        "Service range  (2 values)",
        "  10.100.0.0/16  kube-controller-manager on controlplane",
        "                 --service-cluster-ip-range in nodes/controlplane/ps-ef.txt:8",
    ]
    assert max(map(len, lines)) <= 80


def test_order_and_repetition_do_not_matter() -> None:
    twice = Facts(facts=(*FACTS.facts[::-1], FACTS.facts[0]))
    assert facts_text(twice, Style()) == facts_text(FACTS, Style())


def test_no_settings() -> None:
    assert facts_text(Facts(), Style()) == (
        "No component states any of the settings that kdiag looks for.\n\n0 settings of 0 components\n"
    )


def test_a_statement_without_a_place() -> None:
    facts = Facts(facts=(replace(FACTS.facts[0], flag="default", source=""),))
    assert "  10.244.0.0/16  kube-proxy        default\n" in facts_text(facts, Style())


def test_escapes() -> None:
    facts = Facts(facts=tuple(replace(fact, value="\x1b[2J", source="\u202e") for fact in FACTS.facts))
    for width in (60, 160):
        assert {ch for ch in facts_text(facts, Style(width=width)) if not ch.isprintable()} == {"\n"}
