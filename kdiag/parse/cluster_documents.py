"""Documents that tools leave in kube-system: kubeadm's ClusterConfiguration and the kubelets' configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdiag.model.cluster import ClusterState, ConfigMap
from kdiag.model.facts import Fact, FactKind
from kdiag.parse.fact_values import make_fact
from kdiag.parse.plain_yaml import read_plain


def kubeadm_facts(cluster: ClusterState) -> Iterator[Fact]:
    """What `kubeadm init` was told, from the ConfigMap kubeadm-config.

    Nothing keeps it in step with the running components: a range that was changed by hand leaves it behind.
    """
    for config_map in _config_maps(cluster, "kubeadm-config"):
        document = _mapping(config_map.data.get("ClusterConfiguration", ""))
        source = f"ConfigMap {config_map.meta.key}"
        networking = document.get("networking")
        server = document.get("apiServer")
        arguments = _extra_args(server.get("extraArgs")) if isinstance(server, dict) else {}
        rows = (
            (FactKind.SERVICE_RANGE, networking, "serviceSubnet", "networking.serviceSubnet"),
            (FactKind.POD_RANGE, networking, "podSubnet", "networking.podSubnet"),
            (FactKind.NODE_PORT_RANGE, arguments, "service-node-port-range", "apiServer.extraArgs"),
        )
        for kind, place, key, flag in rows:
            value = place.get(key) if isinstance(place, dict) else None
            fact = make_fact(kind, "kubeadm", value, flag=flag, source=source) if isinstance(value, str) else None
            if fact is not None:
                yield fact


def kubelet_facts(cluster: ClusterState) -> Iterator[Fact]:
    """The cluster DNS address that kubeadm gives its kubelets (ConfigMap kubelet-config, up to 1.23 kubelet-config-1.N)."""
    for config_map in _config_maps(cluster, "kubelet-config"):
        listed = _mapping(config_map.data.get("kubelet", "")).get("clusterDNS")
        if isinstance(listed, list):
            fact = make_fact(
                FactKind.CLUSTER_DNS,
                "kubelet-config",
                ",".join(str(item) for item in listed),
                flag="clusterDNS",
                source=f"ConfigMap {config_map.meta.key}",
            )
            if fact is not None:
                yield fact


def _config_maps(cluster: ClusterState, prefix: str) -> list[ConfigMap]:
    found = [
        item
        for item in cluster.config_maps
        if item.meta.key.namespace == "kube-system"
        and (item.meta.key.name == prefix or item.meta.key.name.startswith(f"{prefix}-1."))
    ]
    return sorted(found, key=lambda item: item.meta.key)


def _mapping(text: str) -> Mapping[str, Any]:
    """The YAML mapping in the text; empty if it holds none (the document is then no evidence of anything)."""
    if not text.strip():
        return {}
    plain = read_plain(text)
    if plain is not None:
        return plain
    import yaml  # it takes long

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _extra_args(value: Any) -> dict[str, Any]:
    """kubeadm's extraArgs: a mapping up to v1beta3, a list of name and value from v1beta4 on."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(item.get("name")): item.get("value") for item in value if isinstance(item, dict)}
    return {}
