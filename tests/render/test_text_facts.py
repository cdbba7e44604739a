from __future__ import annotations

from msgspec.structs import replace

from kdiag.model.facts import FactKind, Facts
from kdiag.render.style import Style
from kdiag.render.text_facts import facts_text
from tests.render.samples import FACTS


def test_settings_by_kind() -> None:
    assert facts_text(FACTS, Style(width=160)) == (
        "  VALUE          COMPONENT                STATED BY\n"
        "\n"
        "Service range  (2 values)\n"
        "  10.100.0.0/16  kube-controller-manager  --service-cluster-ip-range in nodes/controlplane/ps-ef.txt:8\n"
        "  10.96.0.0/12   kube-apiserver           --service-cluster-ip-range in nodes/controlplane/ps-ef.txt:7\n"
        "\n"
        "Pod range\n"
        "  10.244.0.0/16  kube-proxy               clusterCIDR in cluster/kube-system-configmaps.json\n"
        "\n"
        "3 settings of 3 components\n"
    )


def test_a_value_stands_once_above_all_who_state_it() -> None:
    kubeadm = replace(FACTS.facts[0], component="kubeadm", flag="networking.podSubnet", source="cluster/x.json")
    other_kind = replace(FACTS.facts[0], kind=FactKind.CNI_RANGE, component="flannel", source="cluster/y.json")
    text = facts_text(Facts(facts=(FACTS.facts[0], kubeadm, other_kind)), Style())
    assert (
        "Pod range\n"
        "  10.244.0.0/16  kube-proxy  clusterCIDR in cluster/kube-system-configmaps.json\n"
        "                 kubeadm     networking.podSubnet in cluster/x.json\n"
        "\n"
        "CNI pool\n"
        "  10.244.0.0/16  flannel     clusterCIDR in cluster/y.json\n"
    ) in text


def proxies(*nodes: str, source: str = "nodes/{}/configz.json") -> Facts:
    return Facts(facts=tuple(replace(FACTS.facts[0], node=node, source=source.format(node), line=3) for node in nodes))


def test_nodes_that_state_the_same_share_a_line() -> None:
    text = facts_text(proxies("node03", "node01", "node02"), Style())
    assert "  10.244.0.0/16  kube-proxy  clusterCIDR in nodes/*/configz.json: node01, node02, node03\n" in text
    assert text.endswith("3 settings of 1 component\n")
    many = facts_text(proxies(*(f"n{number:03}" for number in range(500))), Style())
    assert "nodes/*/configz.json: n000, n001, n002, n003, n004 and\n" in many
    assert "495 more\n" in many
    assert "clusterCIDR in nodes/node01/configz.json:3\n" in facts_text(proxies("node01"), Style())


def test_the_node_is_named_where_the_path_does_not_tell_it() -> None:
    text = facts_text(proxies("node01", "node02", source="cluster/pods.json"), Style())
    assert "  10.244.0.0/16  kube-proxy on node01  clusterCIDR in cluster/pods.json:3\n" in text
    assert "                 kube-proxy on node02  clusterCIDR in cluster/pods.json:3\n" in text
    own = Facts(facts=(replace(FACTS.facts[0], component="Node node01", node="node01"),))
    assert "  Node node01  clusterCIDR" in facts_text(own, Style())


def test_several_values_in_one_may_be_wrapped() -> None:
    dual = Facts(facts=(replace(FACTS.facts[0], value="10.244.0.0/16,fd00:10:244::/56"),))
    lines = facts_text(dual, Style(width=80, cut=True)).splitlines()
    assert lines[3].startswith("  10.244.0.0/16,    kube-proxy  clusterCIDR in")
    assert lines[4].startswith("  fd00:10:244::/56 ")


def test_a_narrow_terminal_gets_flag_and_path_below_each_other() -> None:
    lines = facts_text(FACTS, Style(width=80, cut=True)).splitlines()
    assert lines[2:5] == [
        "Service range  (2 values)",
        "  10.100.0.0/16  kube-controller-manager  --service-cluster-ip-range in",
        "                                          nodes/controlplane/ps-ef.txt:8",
    ]
    assert max(map(len, lines)) <= 80


def test_where_paths_would_be_broken_everything_is_stacked() -> None:
    lines = facts_text(FACTS, Style(width=60, cut=True)).splitlines()
    assert lines == [
        "Service range  (2 values)",
        "  10.100.0.0/16  kube-controller-manager:",
        "                 --service-cluster-ip-range",
        "                 nodes/controlplane/ps-ef.txt:8",
        "  10.96.0.0/12   kube-apiserver: --service-cluster-ip-range",
        "                 nodes/controlplane/ps-ef.txt:7",
        "",
        "Pod range",
        "  10.244.0.0/16  kube-proxy: clusterCIDR",
        "                 cluster/kube-system-configmaps.json",
        "",
        "3 settings of 3 components",
    ]
    bare = Facts(facts=(replace(FACTS.facts[0], flag="", component="x" * 60),))
    assert "x" * 60 + "\n                 cluster/" in facts_text(bare, Style(width=60, cut=True))


def test_order_and_repetition_do_not_matter() -> None:
    twice = Facts(facts=(*FACTS.facts[::-1], FACTS.facts[0]))
    assert facts_text(twice, Style()) == facts_text(FACTS, Style())


def test_no_settings() -> None:
    assert facts_text(Facts(), Style()) == (
        "No component states any of the settings that kdiag looks for.\n\n0 settings of 0 components\n"
    )


def test_a_statement_without_a_place() -> None:
    facts = Facts(facts=(replace(FACTS.facts[0], flag="default", source=""),))
    assert "  10.244.0.0/16  kube-proxy  default\n" in facts_text(facts, Style())


def test_escapes() -> None:
    facts = Facts(facts=tuple(replace(fact, value="\x1b[2J", source="\u202e") for fact in FACTS.facts))
    for width in (60, 160):
        assert {ch for ch in facts_text(facts, Style(width=width)) if not ch.isprintable()} == {"\n"}
