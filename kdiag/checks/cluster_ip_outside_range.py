"""KD102: a Service has a cluster IP that lies in no Service range."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import (
    allocated_services,
    describe_fact,
    fact_evidence,
    listed,
    networks_of,
    service_range_facts,
)
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address
from kdiag.model.cluster import Service
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding for all Services outside."""
    facts = service_range_facts(view.facts)
    ranges = networks_of(facts)
    if not ranges:
        return
    inside = 0
    outside: list[tuple[Service, Address]] = []
    for service in allocated_services(view.cluster):
        for address in service.cluster_ips:
            if any(address.version == network.version and address in network for network in ranges):
                inside += 1
            else:
                outside.append((service, address))
    # kubeadm's record may be of a range that is long gone. It proves something only where most Services agree with it.
    recorded_only = all(fact.component == "kubeadm" for fact in facts)
    if not outside or (recorded_only and inside <= len(outside)):
        return
    texts = [f"{service.key} ({address})" for service, address in outside]
    single = outside[0][0] if len({service.key for service, _ in outside}) == 1 else None
    yield CHECK.finding(
        service=str(single.key) if single is not None else None,
        expected=f"an address in {listed(map(str, ranges))}",
        actual=listed(str(address) for _, address in outside),
        message=(
            f"Of the Services with a cluster IP, {len({item.key for item, _ in outside})} "
            f"{'lies' if single is not None else 'lie'} in no Service range: "
            f"{listed(texts, 10)}. The ranges are {listed(map(str, ranges))} "
            f"({listed(describe_fact(fact) for fact in facts)})."
        ),
        affected=[Affected(service=str(service.key)) for service, _ in outside],
        evidence=[
            *fact_evidence(facts),
            *(
                item
                for service, address in outside
                for item in from_api(view.cluster, "services", f"Service {service.key} has cluster IP {address}")
            ),
        ],
    )


CHECK = Check(
    code="KD102",
    slug="cluster-ip-outside-range",
    title="Cluster IPs lie outside every Service range",
    severity=Severity.WARNING,
    explanation="""\
Services keep the cluster IP they were given when the Service range is changed or a flag is lost in an upgrade. Such an
address is no longer anybody's to give out or to guard.

**What it does to traffic.** kube-proxy goes on programming the address, so at first nothing happens. But the API server
reports it again and again (`ClusterIPOutOfRange`), an edit of the Service may be refused, and the address can be given to
something else: a node, a pod or a host in the new neighbourhood.

**How it is found.** Every cluster IP is compared with all ServiceCIDR objects and with the `--service-cluster-ip-range` of all
API servers; without these, with what the controller manager was told. An IPv6 address is outside too if only IPv4 ranges are
left.

**What is left alone.** Headless and ExternalName Services. Addresses inside or outside the band that is kept for static
assignment. kubeadm's ConfigMap alone, unless most Services agree with it: it may be out of date.
""",
    hint=(
        "Make the range known again (an additional ServiceCIDR object from 1.33 on, else the API servers' flag), or delete and "
        "create the Services anew so that they get an address of the current range."
    ),
    run=run,
)
