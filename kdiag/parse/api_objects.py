"""Kubernetes objects from their wire form to the model: defaults filled in, addresses parsed. Slices are in `api_slices`.

A part of an object that makes no sense (an address that is none) is left out and told to `complain`; an object that
makes no sense as a whole raises ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from types import MappingProxyType

import msgspec
from msgspec.structs import astuple, replace

from kdiag.model.addresses import Family, family_of
from kdiag.model.cluster import (
    ConfigMap,
    Container,
    ContainerPort,
    DaemonSet,
    LoadBalancerIngress,
    Node,
    Pod,
    Service,
    ServiceCidr,
    ServicePort,
    TrafficPolicy,
)
from kdiag.parse import api_raw as raw
from kdiag.parse.api_fields import (
    Complain,
    address,
    addresses,
    bare_metadata,
    metadata,
    networks,
    protocol,
    usual_address,
)

DEFAULT_AFFINITY_S = 10800
"""Session affinity time-out where the API states none: 3 hours (core/v1 DefaultClientIPServiceAffinitySeconds)."""

VARIABLES = ("FELIX_BPFENABLED",)
"""The environment variables that are kept: whether Calico runs in eBPF mode."""

_LOCAL, _CLUSTER = TrafficPolicy.LOCAL, TrafficPolicy.CLUSTER  # a member is not asked for quickly
_VARIABLE_DECODER = msgspec.json.Decoder(list[raw.Variable] | None)


def service(item: raw.Service, complain: Complain) -> Service:
    """A Service.

    `source_ranges` are those of the spec: kube-proxy never reads the annotation
    service.beta.kubernetes.io/load-balancer-source-ranges, which is for cloud load balancers
    (newBaseServiceInfo in pkg/proxy, all versions). Spaces around a range are allowed, as there.
    """
    spec = item.spec
    texts = spec.cluster_ips or [spec.cluster_ip or ""]
    # As most Services have one.
    only = usual_address(texts[0]) if len(texts) == 1 else None
    cluster_ips = (only,) if only is not None else addresses(texts, "cluster IP", complain, none=("", "None"))
    balancer = item.status.load_balancer if item.status else None
    ingress = balancer.ingress if balancer else None
    found = Service(
        meta=bare_metadata(item.metadata, _set(item.metadata.labels), _set(item.metadata.annotations)),
        type=intern(spec.type or "ClusterIP"),
        headless=spec.cluster_ip == "None" or "None" in texts,
        cluster_ips=cluster_ips,
        ip_families=_families(*(spec.ip_families or ())) or tuple(dict.fromkeys(map(family_of, cluster_ips))),
        ip_family_policy=intern(spec.ip_family_policy) if spec.ip_family_policy is not None else None,
        ports=_ports(*spec.ports) if spec.ports else (),
        external_ips=addresses(spec.external_ips, "external IP", complain) if spec.external_ips else (),
        ingress=tuple(
            [
                LoadBalancerIngress(
                    ip=address(entry.ip, "load-balancer IP", complain) if entry.ip else None,
                    hostname=entry.hostname or None,
                    ip_mode=entry.ip_mode,
                )
                for entry in ingress
            ]
        )
        if ingress
        else (),
        source_ranges=networks(spec.load_balancer_source_ranges, "source range", complain)
        if spec.load_balancer_source_ranges
        else (),
        selector=spec.selector,
        affinity_s=_affinity_s(spec) if spec.session_affinity == "ClientIP" else None,
        # Everything but Local is Cluster, as in kube-proxy.
        internal_policy=_LOCAL if spec.internal_traffic_policy == "Local" else _CLUSTER,
        external_policy=_LOCAL if spec.external_traffic_policy == "Local" else _CLUSTER,
    )
    # Few Services have one of these, and a call with more than 15 arguments by name takes four times as long (CPython 3.11).
    rare = (spec.health_check_node_port, spec.publish_not_ready_addresses)
    if not any(rare) and spec.traffic_distribution is None and spec.load_balancer_class is None:
        return found
    return replace(
        found,
        health_check_node_port=spec.health_check_node_port or None,
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        traffic_distribution=spec.traffic_distribution,
        load_balancer_class=spec.load_balancer_class,
    )


@lru_cache(1024)
def _set(item: raw.ServiceLabels | raw.ServiceAnnotations | None) -> Mapping[str, str]:
    """What is set of these, by its name in the API. One object for all Services with the same, as most have none."""
    said = zip(item.__struct_encode_fields__, astuple(item), strict=True) if item is not None else ()
    return MappingProxyType({name: value for name, value in said if value is not None})


@lru_cache(4096)
def _ports(*ports: raw.ServicePort) -> tuple[ServicePort, ...]:
    """Thousands of Services have the same."""
    return tuple(
        [
            ServicePort(
                name=port.name or "",
                protocol=protocol(port.protocol),
                port=port.port,
                target_port=port.target_port or None,
                node_port=port.node_port or None,
            )
            for port in ports
        ]
    )


@lru_cache(64)
def _families(*texts: str) -> tuple[Family, ...]:
    """Thousands of Services have the same."""
    return tuple([Family(text) for text in texts])


def _affinity_s(spec: raw.ServiceSpec) -> int:
    config = spec.session_affinity_config
    stated = config.client_ip.timeout_seconds if config and config.client_ip else None
    return DEFAULT_AFFINITY_S if stated is None else stated


def node(item: raw.Node, complain: Complain) -> Node:
    """A Node. It counts as ready if it has no Ready condition at all."""
    spec, status = item.spec or raw.NodeSpec(), item.status or raw.NodeStatus()
    system = status.node_info or raw.NodeSystemInfo()
    meta = metadata(item.metadata)
    ready = _condition(status.conditions, "Ready")
    capacity = str((status.capacity or {}).get("pods", ""))
    return Node(
        meta=meta,
        pod_cidrs=networks(spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else ()), "pod CIDR", complain),
        addresses=tuple([(entry.type, entry.address) for entry in status.addresses or ()]),
        ready=ready is None or ready,
        kubelet_version=system.kubelet_version or "",
        os=system.operating_system or meta.labels.get("kubernetes.io/os") or "linux",
        provider_id=spec.provider_id or "",
        pod_capacity=int(capacity) if capacity.isascii() and capacity.isdigit() and len(capacity) < 20 else None,
        taints=tuple(
            [
                f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect or ''}"
                for taint in spec.taints or ()
            ]
        ),
    )


def pod(item: raw.Pod, complain: Complain) -> Pod:
    """A Pod."""
    status = item.status or raw.PodStatus()
    texts = [entry.ip for entry in status.pod_ips or () if entry.ip] or [status.pod_ip or ""]
    return Pod(
        meta=metadata(item.metadata),
        node_name=item.spec.node_name or None,
        host_network=bool(item.spec.host_network),
        phase=status.phase or "Unknown",
        ips=addresses((text for text in texts if text), "pod IP", complain),
        ready=bool(_condition(status.conditions, "Ready")),
        containers=_containers(item.spec),
    )


def config_map(item: raw.ConfigMap, complain: Complain) -> ConfigMap:
    """A ConfigMap."""
    return ConfigMap(meta=metadata(item.metadata), data=item.data or {})


def daemon_set(item: raw.DaemonSet, complain: Complain) -> DaemonSet:
    """A DaemonSet."""
    template = item.spec.template if item.spec else None
    return DaemonSet(
        meta=metadata(item.metadata),
        containers=_containers(template.spec) if template and template.spec else (),
    )


def service_cidr(item: raw.ServiceCidr, complain: Complain) -> ServiceCidr:
    """A ServiceCIDR."""
    cidrs = item.spec.cidrs if item.spec else None
    return ServiceCidr(meta=metadata(item.metadata), cidrs=networks(cidrs or (), "CIDR", complain))


def _containers(spec: raw.PodSpec) -> tuple[Container, ...]:
    """Containers, then sidecars: init containers that restart always (from Kubernetes 1.28 on)."""
    sidecars = [item for item in spec.init_containers or () if item.restart_policy == "Always"]
    return tuple(
        Container(
            name=item.name,
            image=item.image or "",
            command=(*(item.command or ()), *(item.args or ())),
            environment=_environment(item.env),
            ports=tuple(
                ContainerPort(
                    name=port.name or "",
                    protocol=protocol(port.protocol),
                    port=port.container_port,
                    host_port=port.host_port or None,
                )
                for port in item.ports or ()
            ),
        )
        for item in (*(spec.containers or ()), *sidecars)
    )


def _environment(encoded: msgspec.Raw) -> dict[str, str]:
    """The variables of VARIABLES that are set to a literal value."""
    if not any(item.encode() in bytes(encoded) for item in VARIABLES):
        return {}
    found = _VARIABLE_DECODER.decode(encoded)
    return {item.name: item.value for item in found or () if item.name in VARIABLES and item.value is not None}


def _condition(conditions: list[raw.Condition] | None, wanted: str) -> bool | None:
    """True if the condition is True, False if it is False or Unknown, None if it is not there."""
    for item in conditions or ():
        if item.type == wanted:
            return item.status == "True"
    return None
