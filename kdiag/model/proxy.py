"""kube-proxy's configuration, as far as it changes what happens to packets."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct, field

from kdiag.model.addresses import Family, Network, family_of


class ProxyMode(enum.StrEnum):
    """How kube-proxy programs a Linux node."""

    IPTABLES = "iptables"
    IPVS = "ipvs"
    NFTABLES = "nftables"
    USERSPACE = "userspace"


class DetectLocalMode(enum.StrEnum):
    """How kube-proxy tells a pod of the cluster from other clients (`detectLocalMode`)."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class ProxyConfig(Struct, frozen=True, kw_only=True):
    """One reading of KubeProxyConfiguration. None means that this source does not say (the default then applies).

    `mode` is None for an empty mode, which is iptables on Linux. `source` is the path it was read from.
    """

    source: str
    mode: ProxyMode | None = None
    mode_text: str | None = None
    """The mode as written: None if absent, "" if empty, and what could not be understood if it is none of ours."""
    cluster_cidrs: tuple[Network, ...] | None = None
    detect_local_mode: DetectLocalMode | None = None
    bridge_interface: str | None = None
    interface_name_prefix: str | None = None
    masquerade_all: bool | None = None
    masquerade_bit: int | None = None
    node_port_addresses: tuple[str, ...] | None = None
    """CIDR text or the keyword `primary`; an empty tuple means all addresses."""
    localhost_node_ports: bool | None = None
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    min_sync_period_s: float | None = None
    sync_period_s: float | None = None
    hostname_override: str | None = None

    def cluster_cidr(self, family: Family) -> Network | None:
        """The first cluster CIDR of a family, the one kube-proxy uses."""
        for network in self.cluster_cidrs or ():
            if family_of(network) is family:
                return network
        return None


Version = tuple[int, int]
"""Kubernetes minor release, e.g. (1, 30)."""


def parse_version(text: str | None) -> Version | None:
    """`v1.30.3`, `1.30.3-eks-1`, `v1.30.3+k3s1` → (1, 30); None if it is none."""
    if not text:
        return None
    parts = text.strip().lstrip("v").split(".")
    try:
        return int(parts[0]), int("".join(ch for ch in parts[1] if ch.isdigit()))
    except (ValueError, IndexError):
        return None
