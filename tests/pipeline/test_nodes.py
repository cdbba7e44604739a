"""What is judged of a node, and what is said where nothing can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import NodeView
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, variant, variant_api

BASE = "v1.36.2-iptables-nft"
NODE = "node01"
Edit = Callable[[dict[str, Any]], None]


def examined(snapshot: Snapshot, node: str = NODE) -> tuple[NodeView, list[Gap]]:
    view, gaps = build_view(snapshot, nodes=(node,))
    return view.node_by_name[node], [gap for gap in gaps if gap.node == node]


def keeping(snapshot: Snapshot, *probes: str) -> Snapshot:
    """Of node01 only these probes."""
    kept = {name: item for name, item in snapshot.nodes[NODE].items() if name in probes}
    return structs.replace(snapshot, nodes={**snapshot.nodes, NODE: kept})


def _edit(kind: str, name: str, change: Edit) -> Callable[[Snapshot], Snapshot]:
    def edit(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == name:
                change(item)

    return lambda snapshot: variant_api(snapshot, kind, edit)


# -- nodes without rules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason", "kind"),
    [
        (lambda item: item["metadata"].update(extra=1), "nothing was recorded from this node", GapKind.FAILED),
        (
            lambda item: item["status"].setdefault("nodeInfo", {}).update(operatingSystem="windows"),
            "a Windows node has no netfilter rules",
            GapKind.NOT_APPLICABLE,
        ),
        (
            lambda item: item["metadata"]["labels"].update(type="virtual-kubelet"),
            "a virtual node has no netfilter rules",
            GapKind.NOT_APPLICABLE,
        ),
        (
            lambda item: item["spec"].update(
                taints=[{"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}]
            ),
            "a virtual node has no netfilter rules",
            GapKind.NOT_APPLICABLE,
        ),
        (
            lambda item: item["metadata"]["labels"].update({"eks.amazonaws.com/compute-type": "fargate"}),
            "a Fargate node cannot be logged in to",
            GapKind.NOT_APPLICABLE,
        ),
    ],
)
def test_a_node_of_which_nothing_was_recorded(change: Edit, reason: str, kind: GapKind) -> None:
    snapshot = _edit("nodes", NODE, change)(cluster(BASE))
    rest = {name: probes for name, probes in snapshot.nodes.items() if name != NODE}
    view, gaps = build_view(structs.replace(snapshot, nodes=rest), nodes=(NODE,))
    assert [(gap.subject, gap.reason, gap.kind) for gap in gaps if gap.node == NODE] == [("rules", reason, kind)]
    node = view.node_by_name[NODE]
    assert (node.recorded, node.comparison) == (False, None)
    assert node.proxy_pod is not None


def test_nodes_that_were_not_asked_for() -> None:
    view, gaps = build_view(cluster(BASE), nodes=(NODE,))
    left_out = [(gap.node, gap.reason, gap.kind) for gap in gaps if gap.node != NODE]
    assert left_out == [(name, "the node was left out", GapKind.NOT_ASKED) for name in ("controlplane", "node02")]
    assert [node.comparison is not None for node in view.nodes] == [False, True, False]


def test_without_nodes_one_gap_stands_for_all() -> None:
    view, gaps = build_view(cluster(BASE), without_nodes=True)
    assert [(gap.node, gap.subject, gap.reason, gap.kind) for gap in gaps] == [
        (None, "the nodes", "3 nodes were left out by --no-nodes", GapKind.NOT_ASKED)
    ]
    assert all(node.comparison is None for node in view.nodes)


def test_a_recorded_node_that_the_api_does_not_list_is_judged() -> None:
    def forget(listed: dict[str, Any]) -> None:
        listed["items"] = [item for item in listed["items"] if item["metadata"]["name"] != NODE]

    node, _ = examined(variant_api(cluster(BASE), "nodes", forget))
    assert node.node is None
    assert node.comparison is not None
    assert node.comparison.judged > 100


# -- planes ------------------------------------------------------------------------------------------------------------


def test_what_nothing_shows() -> None:
    bare = structs.replace(cluster(BASE), api={})
    silent, gaps = examined(keeping(bare))
    assert (silent.mode, silent.comparison) == (None, None)
    assert [gap.reason for gap in gaps] == ["no rules were recorded on this node"]
    foreign = keeping(bare, "ip6tables-save")
    foreign = structs.replace(
        foreign,
        nodes={NODE: {"iptables-save": foreign.nodes[NODE]["ip6tables-save"].replaced(content=b"*nat\nCOMMIT\n")}},
    )
    puzzling, gaps = examined(foreign)
    assert puzzling.mode is None
    assert [gap.reason for gap in gaps] == ["nothing shows which proxy this node runs"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("v1.20.2-userspace-nft", ProxyMode.USERSPACE),
        ("v1.36.2-ipvs-nft", ProxyMode.IPVS),
        ("v1.36.2-nftables-nft", ProxyMode.NFTABLES),
    ],
)
def test_a_node_is_judged_in_the_mode_that_it_runs_in(name: str, mode: ProxyMode) -> None:
    node, gaps = examined(cluster(name))
    assert node.mode is mode
    assert node.comparison is not None
    assert node.comparison.judged > 200
    assert (node.comparison.groups, gaps) == ((), [])


def _with_cilium(snapshot: Snapshot) -> Snapshot:
    def edit(listed: dict[str, Any]) -> None:
        listed["items"].append(
            {
                "metadata": {"name": "cilium-config", "namespace": "kube-system"},
                "data": {"kube-proxy-replacement": "true"},
            }
        )

    return variant_api(snapshot, "kube-system-configmaps", edit)


def test_another_products_work_is_not_judged() -> None:
    snapshot = keeping(_with_cilium(cluster(BASE)), "ip-addr")
    node, gaps = examined(snapshot)
    assert (node.other_proxy, node.comparison) == ("Cilium", None)
    assert [(gap.kind, gap.reason) for gap in gaps] == [
        (
            GapKind.NOT_APPLICABLE,
            "Cilium does kube-proxy's work here (ConfigMap kube-system/cilium-config says kube-proxy-replacement: true); "
            "look at its Services with: cilium-dbg service list, run in the node's cilium pod",
        )
    ]
    # A configuration that stayed behind, with rules of kube-proxy and nothing of Cilium on the node.
    rules_there, _ = examined(_with_cilium(cluster(BASE)))
    assert rules_there.comparison is not None


def _cilium_agent(listed: dict[str, Any]) -> None:
    listed["items"].append(
        {
            "metadata": {"name": "cilium-x", "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
            "spec": {
                "nodeName": NODE,
                "containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.14.5"}],
            },
            "status": {"phase": "Running"},
        }
    )


def test_rules_beside_another_product_are_not_judged_but_kept() -> None:
    """The agent of Cilium runs on one node alone: the other is judged, whatever the ConfigMap says."""
    snapshot = variant_api(_with_cilium(cluster(BASE)), "pods", _cilium_agent)
    bare = {
        name: {probe: item for probe, item in probes.items() if probe not in ("ip-addr", "ip-d-addr")}
        for name, probes in snapshot.nodes.items()
    }
    view, gaps = build_view(structs.replace(snapshot, nodes=bare))
    judged = {node.name: (node.other_proxy, node.comparison is not None) for node in view.nodes}
    assert judged[NODE] == ("Cilium", False)
    assert all(found == (None, True) for name, found in judged.items() if name != NODE)
    assert view.node_by_name[NODE].rulesets
    (gap,) = [gap for gap in gaps if gap.node == NODE and gap.kind is GapKind.NOT_APPLICABLE]
    assert gap.reason.endswith("kubectl -n kube-system exec cilium-x -c cilium-agent -- cilium service list")


def test_a_windows_node_has_no_rules_whatever_was_recorded() -> None:
    def windows(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == NODE:
                item["status"]["nodeInfo"]["operatingSystem"] = "windows"

    node, gaps = examined(variant_api(cluster(BASE), "nodes", windows))
    assert node.comparison is None
    assert (GapKind.NOT_APPLICABLE, "a Windows node has no netfilter rules") in [(gap.kind, gap.reason) for gap in gaps]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_node_that_is_not_ready(recorded: bool) -> None:
    def not_ready(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == NODE:
                item["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]

    snapshot = variant_api(cluster(BASE), "nodes", not_ready)
    if recorded:
        node, _ = examined(snapshot)
        assert node.comparison is not None
        assert node.comparison.groups == ()
        return
    unreachable = Gap(node=NODE, subject="node", reason="no route to host")
    rest = {name: probes for name, probes in snapshot.nodes.items() if name != NODE}
    _, gaps = build_view(structs.replace(snapshot, nodes=rest, gaps=(unreachable,)))
    assert [(gap.kind, gap.reason) for gap in gaps if gap.node == NODE] == [
        (GapKind.FAILED, "no route to host"),
        (GapKind.FAILED, "nothing was recorded from this node, which is not Ready"),
    ]


# -- release and configuration -----------------------------------------------------------------------------------------


def _nameless(snapshot: Snapshot) -> Snapshot:
    """Nothing tells the proxy's release but the API server's."""
    kept = keeping(snapshot, "iptables-save", "ip-addr", "ip-route")
    without = {kind: item for kind, item in kept.api.items() if "daemonsets" not in kind}

    def no_image(listed: dict[str, Any]) -> None:
        listed["items"] = [item for item in listed["items"] if "kube-proxy" not in item["metadata"]["name"]]

    return variant_api(structs.replace(kept, api=without), "pods", no_image)


def test_an_assumed_release_is_called_so_and_follows_the_chains() -> None:
    node, _ = examined(_nameless(cluster(BASE)))
    assert node.version_source.endswith("(assumed)")
    assert node.version == (1, 36)
    assert node.comparison is not None
    assert node.comparison.groups == ()
    older = _nameless(cluster("v1.20.2-iptables-nft"))
    newer = structs.replace(older, api={**older.api, "version": cluster(BASE).api["version"]})
    node, _ = examined(newer)
    assert node.version == (1, 20)
    assert node.comparison is not None
    assert node.comparison.groups == ()


def _without_configuration(snapshot: Snapshot) -> Snapshot:
    kept = keeping(
        snapshot, "iptables-save", "ip6tables-save", "ip-addr", "ip-route", "kube-proxy", "sysctl-route_localnet"
    )
    api = {kind: item for kind, item in kept.api.items() if "configmaps" not in kind}
    return structs.replace(kept, api=api)


def test_without_configuration_the_rules_tell_how_pods_are_told_from_others() -> None:
    snapshot = _without_configuration(cluster(BASE))
    node, _ = examined(snapshot)
    assert node.comparison is not None
    assert node.comparison.groups == ()


def test_a_node_whose_own_configuration_names_another_range_is_judged_by_the_clusters() -> None:
    def other_range(text: str) -> str:
        decoded = json.loads(text)
        decoded["kubeproxy.config.k8s.io"]["clusterCIDR"] = "10.0.0.0/8"
        return json.dumps(decoded)

    node, _ = examined(variant(cluster(BASE), node=NODE, probe="configz", edit=other_range))
    assert node.comparison is not None
    assert node.comparison.groups == ()


def test_another_way_to_detect_pods_is_the_nodes_own() -> None:
    def by_bridge(text: str) -> str:
        decoded = json.loads(text)
        own = decoded["kubeproxy.config.k8s.io"]
        own |= {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}}
        return json.dumps(decoded)

    def rules(text: str) -> str:
        return text.replace("! -s 10.244.0.0/16", "! -i cni0").replace("-s 10.244.0.0/16", "-i cni0")

    told = variant(cluster(BASE), node=NODE, probe="configz", edit=by_bridge)
    node, _ = examined(told)
    assert node.comparison is not None
    assert node.comparison.groups != ()
    node, _ = examined(variant(told, node=NODE, probe="iptables-save", edit=rules))
    assert node.comparison is not None
    assert node.comparison.groups == ()


def test_node_port_addresses_that_name_no_address_of_the_node() -> None:
    """Every NodePort is closed here; its rules, and the refusal of one without endpoints, are right all the same."""

    def elsewhere(text: str) -> str:
        decoded = json.loads(text)
        decoded["kubeproxy.config.k8s.io"]["nodePortAddresses"] = ["172.16.0.0/12"]
        return json.dumps(decoded)

    def closed(text: str) -> str:
        return "".join(
            line
            for line in text.splitlines(keepends=True)
            if not (line.startswith("-A KUBE-SERVICES") and line.endswith("-j KUBE-NODEPORTS\n"))
        )

    snapshot = variant(cluster(BASE), node=NODE, probe="configz", edit=elsewhere)
    node, _ = examined(variant(snapshot, node=NODE, probe="iptables-save", edit=closed))
    assert node.comparison is not None
    assert node.comparison.groups == ()
