"""KD110: kubelets give pods a DNS address that no DNS Service has."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import (
    describe_fact,
    fact_evidence,
    listed,
    networks_of,
    node_addresses,
    service_range_facts,
)
from kdiag.checks.evidence import from_api
from kdiag.checks.host_networks import contains_address
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address, parse_address
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.facts import Fact, FactKind
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

_DNS_PORT = 53


def run(view: View) -> Iterable[Finding]:
    """One finding per address that nothing answers at."""
    if "services" not in view.cluster.seen:
        return
    services = [item for item in view.cluster.services if any(port.port == _DNS_PORT for port in item.ports)]
    answering = {address for service in services for address in service.cluster_ips}
    elsewhere = _other_addresses(view)
    ranges = networks_of(service_range_facts(view.facts))
    stated: dict[Address, list[Fact]] = {}
    for fact in view.facts.of(FactKind.CLUSTER_DNS):
        for text in fact.value.split(","):
            address = parse_address(text)
            if address is not None:
                stated.setdefault(address, []).append(fact)
    for address in sorted(stated, key=lambda item: (item.version, int(item))):
        if address in answering or address in elsewhere or address.is_link_local or address.is_loopback:
            continue
        in_range = any(contains_address(network, address) for network in ranges)
        # Without a DNS Service, an address outside the Service range is a server outside the cluster.
        if in_range or _cluster_dns(services):
            yield _finding(view, address, stated[address], services, in_range=in_range)


def _other_addresses(view: View) -> set[Address]:
    """Addresses that nodes and pods answer at: of node-local caches, host daemons, DNS pods."""
    found = {address for node in view.cluster.nodes for _, address in node_addresses(node)}
    found |= {item.address for node in view.nodes for item in node.host.addresses or ()}
    return found | {address for pod in view.cluster.pods for address in pod.ips if not pod.terminated}


def _cluster_dns(services: list[Service]) -> list[Service]:
    """The Services that look like the cluster's DNS."""
    return [
        service
        for service in services
        if service.meta.labels.get("k8s-app") in ("kube-dns", "coredns")
        or "coredns" in service.key.name
        or service.key.name in ("kube-dns", "dns-default")
    ]


def _holder(state: ClusterState, address: Address) -> Service | None:
    return next((service for service in state.services if address in service.cluster_ips), None)


def _finding(view: View, address: Address, facts: list[Fact], services: list[Service], *, in_range: bool) -> Finding:
    dns = _cluster_dns(services) or services
    right = listed(f"{item} of {service.key}" for service in dns for item in service.cluster_ips)
    holder = _holder(view.cluster, address)
    whose = (
        f"which belongs to {holder.key}, not a DNS Service"
        if holder is not None
        else "which no Service has"
        if in_range
        else "which is no address of the cluster"
    )
    nodes = sorted({fact.node for fact in facts if fact.node is not None})
    return CHECK.finding(
        severity=Severity.ERROR if in_range else Severity.WARNING,
        node=nodes[0] if len(nodes) == 1 and all(fact.node for fact in facts) else None,
        service=str(dns[0].key) if len(dns) == 1 else None,
        expected=right or "a Service with port 53",
        actual=str(address),
        message=(
            f"Pods are told to ask {address} for names ({listed(describe_fact(fact) for fact in facts)}), {whose}. "
            + (f"The cluster's DNS is at {right}." if right else "There is no Service with port 53.")
        ),
        affected=[
            *(Affected(node=node) for node in nodes),
            *(Affected(service=str(service.key)) for service in dns),
        ],
        evidence=[
            *fact_evidence(facts),
            *(
                item
                for service in dns
                for address in service.cluster_ips
                for item in from_api(view.cluster, "services", f"Service {service.key} has cluster IP {address}")
            ),
        ],
    )


CHECK = Check(
    code="KD110",
    slug="cluster-dns-mismatch",
    title="Pods ask a DNS address that nothing answers at",
    severity=Severity.ERROR,
    explanation="""\
The kubelet writes an address into every pod's `resolv.conf`: its `clusterDNS`. It is a copy of the DNS Service's cluster IP,
made when the cluster was set up, and does not follow when the Service is created anew or the Service range is changed.

**What it does to traffic.** Pods cannot resolve any name, or wait for a time-out first if they have a second server.

**How it is found.** `--cluster-dns` of kubelets and of k3s and RKE2 servers, and kubeadm's kubelet ConfigMap, are compared with
the cluster IPs of Services that have port 53. An address in the Service range that none of them has is an *error*, another one
a *warning*.

**What is left alone.** Link-local and loopback addresses and those of any interface of a node (node-local caches, a DNS server
on the host), addresses of pods, and servers outside the cluster where no DNS Service exists.
""",
    hint=(
        "Give the DNS Service that cluster IP again (delete and create it with spec.clusterIP), or change the kubelets' "
        "clusterDNS and restart the pods."
    ),
    run=run,
)
