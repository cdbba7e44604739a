"""What a node's proxy ought to run with."""

from __future__ import annotations

from msgspec.structs import replace

from kdiag.model.addresses import Network
from kdiag.model.proxy import DetectLocalMode, ProxyConfig


def wanted_config(own: ProxyConfig | None, shared: ProxyConfig | None, shown: ProxyConfig | None) -> ProxyConfig | None:
    """The configuration to judge a node by: of its `own`, the cluster's `shared` one, and what most nodes' rules have `shown`.

    Each node by its own, but for the pods' range, which is one for the whole cluster: a node that has another one is
    at fault. Where no configuration says how pods are told from others, what most nodes' rules show is taken.
    """
    if own is None:
        return shown
    if not _tells_by_range(own):
        return own
    ranges = _pod_ranges(own, shared)
    if ranges is None and shown is not None:
        return replace(
            own,
            cluster_cidrs=shown.cluster_cidrs,
            detect_local_mode=shown.detect_local_mode,
            bridge_interface=shown.bridge_interface,
            interface_name_prefix=shown.interface_name_prefix,
            masquerade_all=own.masquerade_all if own.masquerade_all is not None else shown.masquerade_all,
        )
    return replace(own, cluster_cidrs=ranges)


def asks_rules(own: ProxyConfig | None, shared: ProxyConfig | None) -> bool:
    """True if what most nodes' rules show decides how a node tells its pods from others."""
    return own is None or (_tells_by_range(own) and _pod_ranges(own, shared) is None)


def _tells_by_range(own: ProxyConfig) -> bool:
    return (own.detect_local_mode or DetectLocalMode.CLUSTER_CIDR) is DetectLocalMode.CLUSTER_CIDR


def _pod_ranges(own: ProxyConfig, shared: ProxyConfig | None) -> tuple[Network, ...] | None:
    return shared.cluster_cidrs if shared and shared.cluster_cidrs is not None else own.cluster_cidrs
