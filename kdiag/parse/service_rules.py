"""What the API server refuses of a Service, as far as it decides where packets go.

The rules are those of ValidateService (pkg/apis/core/validation, the same from 1.20 to 1.36 but where a version is
named). Rules that differ between releases are kept to what all of them refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kdiag.model.addresses import parse_address
from kdiag.parse import api_raw as raw

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")
"""IANA_SVC_NAME of a target port: at most 15 characters, one letter at least, no two dashes beside each other."""

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_EXPOSED = ("NodePort", "LoadBalancer")
LONGEST_AFFINITY_S = 86400


def service_refusals(item: raw.Service) -> Iterator[str]:
    """Why the API server would not take the Service: one sentence each, without a stop."""
    spec = item.spec
    kind = spec.type or "ClusterIP"
    if not _LABEL.fullmatch(item.metadata.name):
        yield f"metadata.name {item.metadata.name!r} is not a label: small letters, digits and dashes, 63 at most"
    yield from _choices(spec, kind)
    yield from _addresses(spec, kind)
    yield from _ports(spec, kind)


def _choices(spec: raw.ServiceSpec, kind: str) -> Iterator[str]:
    """Fields that take one of a few words; and those that go with some types alone."""
    one_of: Sequence[tuple[str, str | None, Sequence[str]]] = (
        ("type", spec.type, _TYPES),
        ("externalTrafficPolicy", spec.external_traffic_policy, _POLICIES),
        ("internalTrafficPolicy", spec.internal_traffic_policy, _POLICIES),
        ("sessionAffinity", spec.session_affinity, ("None", "ClientIP")),
        ("ipFamilyPolicy", spec.ip_family_policy, ("SingleStack", "PreferDualStack", "RequireDualStack")),
        ("trafficDistribution", spec.traffic_distribution, _DISTRIBUTIONS),
        *(("ipFamilies", family, ("IPv4", "IPv6")) for family in spec.ip_families or ()),
    )
    for field, value, allowed in one_of:
        if value and value not in allowed:
            yield f"spec.{field} is {value!r} and must be {' or '.join(allowed)}"
    families = spec.ip_families or []
    if len(set(families)) < len(families):
        yield "spec.ipFamilies names a family twice"
    if spec.external_traffic_policy and kind not in _EXPOSED and not spec.external_ips:
        yield f"spec.externalTrafficPolicy is for Services that can be reached from outside, and the type is {kind}"
    local = spec.external_traffic_policy == "Local" and kind == "LoadBalancer"
    if spec.health_check_node_port and not local:
        yield "spec.healthCheckNodePort is for type LoadBalancer with externalTrafficPolicy Local"
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is not None and spec.session_affinity != "ClientIP":
        yield "spec.sessionAffinityConfig is for sessionAffinity ClientIP"
    elif seconds is not None and not 0 < seconds <= LONGEST_AFFINITY_S:
        yield f"spec.sessionAffinityConfig.clientIP.timeoutSeconds is {seconds} and must be 1 to {LONGEST_AFFINITY_S}"


def _addresses(spec: raw.ServiceSpec, kind: str) -> Iterator[str]:
    listed = spec.cluster_ips or []
    stated = dict.fromkeys(text for text in (spec.cluster_ip or "", *listed) if text)
    for text in stated:
        if text != "None" and parse_address(text) is None:
            yield f"spec.clusterIP {text!r} is not an IP address"
    if spec.cluster_ip and listed and listed[0] != spec.cluster_ip:
        yield f"spec.clusterIPs begins with {listed[0]!r} and spec.clusterIP is {spec.cluster_ip!r}"
    if len(listed) > 2:
        yield f"spec.clusterIPs has {len(listed)} entries and may have 2"
    if "None" in stated and kind in _EXPOSED:
        yield f"spec.clusterIP is None, and type {kind} needs one"
    if stated and kind == "ExternalName":
        yield "spec.clusterIP may not be set for type ExternalName"
    for text in spec.external_ips or ():
        address = parse_address(text)
        if address is None:
            yield f"spec.externalIPs {text!r} is not an IP address"
        elif address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast:
            yield f"spec.externalIPs {text} is unspecified, loopback, link-local or multicast"


def _ports(spec: raw.ServiceSpec, kind: str) -> Iterator[str]:
    ports = spec.ports or []
    headless = "None" in (spec.cluster_ip, *(spec.cluster_ips or ()))
    if not ports and not headless and kind != "ExternalName":
        yield "spec.ports is empty"
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for port in ports:
        where = f"port {port.name or port.port}"
        protocol = port.protocol or "TCP"
        if protocol not in _PROTOCOLS:
            yield f"{where}: the protocol is {protocol!r} and must be {' or '.join(_PROTOCOLS)}"
        if not 0 < port.port < 65536:
            yield f"{where}: {port.port} is no port number"
        yield from _target(where, port.target_port)
        if not port.name and len(ports) > 1:
            yield f"{where}: of several ports each needs a name"
        if port.name and not _LABEL.fullmatch(port.name):
            yield f"{where}: the name is not a label: small letters, digits and dashes"
        if port.name and port.name in names:
            yield f"{where}: another port has the same name"
        if (protocol, port.port) in numbers:
            yield f"{where}: another port is {port.port}/{protocol} too"
        names.add(port.name or "")
        numbers.add((protocol, port.port))
        if port.node_port:
            if kind not in _EXPOSED:
                yield f"{where}: nodePort is for types NodePort and LoadBalancer, and the type is {kind}"
            elif not 0 < port.node_port < 65536:
                yield f"{where}: nodePort {port.node_port} is no port number"
            if (protocol, port.node_port) in node_ports:
                yield f"{where}: another port has node port {port.node_port}/{protocol} too"
            node_ports.add((protocol, port.node_port))


def _target(where: str, target: int | str | None) -> Iterator[str]:
    if isinstance(target, int):
        if target and not 0 < target < 65536:
            yield f"{where}: targetPort {target} is no port number"
    elif target and (len(target) > 15 or not _PORT_NAME.fullmatch(target)):
        yield (
            f"{where}: targetPort {target!r} is no port name: 15 small letters, digits and dashes at most, "
            "one letter at least (a number goes without quotes)"
        )
