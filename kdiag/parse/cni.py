"""Which CNI a cluster runs, and the pools that it takes pod addresses from."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from kdiag.model.addresses import parse_network
from kdiag.model.cluster import ClusterState
from kdiag.model.facts import Fact, FactKind
from kdiag.model.snapshot import Recording
from kdiag.parse.fact_values import make_fact

_WEAVE_DEFAULT = "10.32.0.0/12"
"""IPALLOC_RANGE of Weave Net when it is not set (weave's launch.sh)."""


class AddressSource(enum.Enum):
    """Where a CNI takes pod addresses from."""

    NODE_RANGE = "node.spec.podCIDRs"
    OWN_POOL = "the CNI's own pools"
    NODE_NETWORK = "the nodes' own network"
    UNKNOWN = "not known"


class Cni(Struct, frozen=True, kw_only=True):
    """The CNI as far as its pods and ConfigMaps give it away. `product` is empty if none was recognised."""

    product: str
    addresses: AddressSource


_AGENTS: tuple[tuple[str, str, AddressSource], ...] = (
    ("aws-node", "Amazon VPC CNI", AddressSource.NODE_NETWORK),
    ("azure-cns", "Azure CNI", AddressSource.NODE_NETWORK),
    ("azure-cni", "Azure CNI", AddressSource.NODE_NETWORK),
    ("terway", "Terway", AddressSource.NODE_NETWORK),
    ("cilium", "Cilium", AddressSource.OWN_POOL),
    ("canal", "Canal", AddressSource.NODE_RANGE),
    ("calico-node", "Calico", AddressSource.OWN_POOL),
    ("weave-net", "Weave Net", AddressSource.OWN_POOL),
    ("ovnkube-node", "OVN-Kubernetes", AddressSource.OWN_POOL),
    ("ovs-node", "OVN-Kubernetes", AddressSource.OWN_POOL),
    ("kube-ovn-cni", "Kube-OVN", AddressSource.OWN_POOL),
    ("sdn", "OpenShift SDN", AddressSource.OWN_POOL),
    ("antrea-agent", "Antrea", AddressSource.NODE_RANGE),
    ("kube-router", "kube-router", AddressSource.NODE_RANGE),
    ("kube-flannel", "flannel", AddressSource.NODE_RANGE),
    ("kindnet", "kindnet", AddressSource.NODE_RANGE),
)
"""Name of the agent's DaemonSet (a prefix of its pods' names), product, and where it takes addresses from by default.
Products that can run beside another (Cilium chained to the VPC CNI, Calico for policy only) stand behind it."""

_NAMESPACES = frozenset(
    {
        "calico-system",
        "canal",
        "cilium",
        "kube-flannel",
        "kube-system",
        "openshift-ovn-kubernetes",
        "openshift-sdn",
        "ovn-kubernetes",
    }
)


def recognise_cni(cluster: ClusterState) -> Cni:
    """The CNI of a cluster.

    Cilium takes what its ConfigMap's `ipam` says; `kubernetes` means node.spec.podCIDRs. k3s brings flannel inside its
    own process, so a k3s cluster without any agent is one with flannel. Unknown if there is no trace.
    """
    names = {item.meta.key.name for item in cluster.daemon_sets if item.meta.key.namespace in _NAMESPACES}
    names |= {pod.key.name for pod in cluster.pods if pod.key.namespace in _NAMESPACES}
    for prefix, product, addresses in _AGENTS:
        if any(name == prefix or name.startswith(f"{prefix}-") for name in names):
            if product == "Cilium":
                addresses = _cilium_addresses(cluster)
            return Cni(product=product, addresses=addresses)
    if cluster.nodes and all("+k3s" in node.kubelet_version for node in cluster.nodes):
        return Cni(product="flannel in k3s", addresses=AddressSource.NODE_RANGE)
    return Cni(product="", addresses=AddressSource.UNKNOWN)


def cni_facts(cluster: ClusterState, recordings: Mapping[str, Recording]) -> Iterator[Fact]:
    """The pools of flannel, Canal, Cilium, Calico and Weave Net."""
    yield from _flannel_facts(cluster)
    yield from _cilium_facts(cluster)
    if "ippools" in recordings:
        yield from _calico_facts(recordings["ippools"])
    for kind in ("kube-system-daemonsets", "daemonsets"):
        if kind in recordings:
            yield from _weave_facts(recordings[kind])
            break


def _flannel_facts(cluster: ClusterState) -> Iterator[Fact]:
    for config_map in sorted(cluster.config_maps, key=lambda item: item.meta.key):
        if config_map.meta.key.name not in ("kube-flannel-cfg", "canal-config"):
            continue
        network = _json(config_map.data.get("net-conf.json", ""))
        if not isinstance(network, dict):
            continue
        for key in ("Network", "IPv6Network"):
            value = network.get(key)
            if isinstance(value, str):
                fact = make_fact(
                    FactKind.CNI_RANGE,
                    "flannel",
                    value,
                    flag=f"net-conf.json {key}",
                    source=f"ConfigMap {config_map.meta.key}",
                )
                if fact is not None:
                    yield fact


def _cilium_addresses(cluster: ClusterState) -> AddressSource:
    settings = _cilium_settings(cluster)
    match settings.get("ipam", "cluster-pool"):
        case "kubernetes":
            return AddressSource.NODE_RANGE
        case "eni" | "azure" | "alibabacloud":
            return AddressSource.NODE_NETWORK
        case "delegated-plugin":
            return AddressSource.UNKNOWN
        case _:
            return AddressSource.OWN_POOL


def _cilium_settings(cluster: ClusterState) -> Mapping[str, str]:
    for config_map in sorted(cluster.config_maps, key=lambda item: item.meta.key):
        if config_map.meta.key.name == "cilium-config":
            return config_map.data
    return {}


def _cilium_facts(cluster: ClusterState) -> Iterator[Fact]:
    settings = _cilium_settings(cluster)
    if not settings.get("ipam", "").startswith("cluster-pool"):
        return
    families = (("cluster-pool-ipv4-cidr", "enable-ipv4", "true"), ("cluster-pool-ipv6-cidr", "enable-ipv6", "false"))
    for key, switch, default in families:
        if settings.get(switch, default) == "true" and key in settings:
            fact = make_fact(FactKind.CNI_RANGE, "Cilium", settings[key], flag=key, source="ConfigMap cilium-config")
            if fact is not None:
                yield fact


def _calico_facts(recording: Recording) -> Iterator[Fact]:
    """Calico's IPPools; a disabled pool hands out nothing."""
    for item in _items(recording):
        spec = item.get("spec")
        cidr = spec.get("cidr") if isinstance(spec, dict) else None
        metadata = item.get("metadata")
        pool = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(cidr, str) or not isinstance(spec, dict) or spec.get("disabled") is True:
            continue
        if parse_network(cidr) is not None:
            fact = make_fact(
                FactKind.CNI_RANGE, f"Calico IPPool {pool}", cidr, flag="spec.cidr", source=recording.source
            )
            if fact is not None:
                yield fact


def _weave_facts(recording: Recording) -> Iterator[Fact]:
    for item in _items(recording):
        containers: Any = item
        for key in ("spec", "template", "spec", "containers"):
            containers = containers.get(key) if isinstance(containers, dict) else None
        for container in containers if isinstance(containers, list) else []:
            if not isinstance(container, dict) or container.get("name") != "weave":
                continue
            listed = container.get("env")
            environment = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
            value = next((entry.get("value") for entry in environment if entry.get("name") == "IPALLOC_RANGE"), None)
            fact = make_fact(
                FactKind.CNI_RANGE,
                "Weave Net",
                str(value or _WEAVE_DEFAULT),
                flag="IPALLOC_RANGE" if value else "default",
                source=recording.source,
            )
            if fact is not None:
                yield fact


def _items(recording: Recording) -> list[dict[str, Any]]:
    content = _json(recording.text())
    listed = content.get("items") if isinstance(content, dict) else None
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
