"""KD107: kube-proxy's cluster CIDR is not where the pods are."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import (
    FAMILIES,
    contains,
    fact_evidence,
    listed,
    networks_of,
    overlap,
    pods_outside_cluster_cidr,
    running_pods,
    service_range_facts,
)
from kdiag.checks.interface import Check
from kdiag.model.addresses import Network, family_of
from kdiag.model.facts import FactKind
from kdiag.model.proxy import DetectLocalMode
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per family."""
    config = view.cluster_config
    if config is None or config.detect_local_mode not in (None, DetectLocalMode.CLUSTER_CIDR):
        return
    empty = pods_outside_cluster_cidr(view)
    ranges = networks_of(service_range_facts(view.facts))
    for family in FAMILIES:
        network = config.cluster_cidr(family)
        if network is None:
            continue
        services = [item for item in ranges if overlap(network, item) is not None]
        inside = any(
            address in network
            for pod in running_pods(view.cluster)
            for address in pod.ips
            if family_of(address) is family
        )
        if family in empty or (services and not inside and any(contains(item, network) for item in services)):
            yield _finding(view, network, services, Severity.WARNING)
        elif services and inside and not _told_by_others(view, services):
            yield _finding(view, network, services, Severity.INFO)


def _told_by_others(view: View, services: list[Network]) -> bool:
    """True if a range that pods get addresses from overlaps the Service range too, which KD101 tells."""
    facts = (*view.facts.of(FactKind.POD_RANGE), *view.facts.of(FactKind.CNI_RANGE))
    return any(
        overlap(network, item) is not None
        for network in networks_of(fact for fact in facts if fact.component != "kube-proxy")
        for item in services
    )


def _finding(view: View, network: Network, services: list[Network], severity: Severity) -> Finding:
    version = network.version
    seen = [str(item) for pod in running_pods(view.cluster) for item in pod.ips if item.version == version]
    facts = [fact for fact in view.facts.of(FactKind.POD_RANGE) if fact.component == "kube-proxy"]
    stating = [fact for fact in facts if network in fact.networks]
    overlapping = f"It overlaps the Service range {listed(map(str, services))}. " if services else ""
    effect = (
        "Pods are inside too, so traffic is told apart as it should be; the range is larger than it needs to be."
        if severity is Severity.INFO
        else f"No running pod has an address in it{f' (they have {listed(seen, 3)})' if seen else ''}: every pod counts as a stranger, "
        "and its traffic to Services is masqueraded. Pods see the node's address instead of the client's, and network "
        "policies that name pods no longer match."
    )
    evidence = fact_evidence(stating)
    if not evidence and view.cluster_config is not None:
        evidence = (Evidence(source=view.cluster_config.source, text=f"clusterCIDR: {network}"),)
    return CHECK.finding(
        severity=severity,
        expected="the range that pods get their addresses from",
        actual=str(network),
        message=f"kube-proxy's clusterCIDR is {network}. {overlapping}{effect}",
        evidence=evidence,
    )


CHECK = Check(
    code="KD107",
    slug="cluster-cidr-wrong",
    title="kube-proxy's cluster CIDR is not the pods' range",
    severity=Severity.WARNING,
    explanation="""\
kube-proxy tells pods of the cluster from other clients by their address: `clusterCIDR`, unless another `detectLocalMode` is
set. Nothing compares it with where the pods really are; it is often copied from another cluster, or holds the Service range.

**What it does to traffic.** Traffic from pods to cluster IPs is masqueraded as if it came from outside: it arrives, with the
node's address as its source. Logs, rate limits and network policies that look at the client are wrong. With external traffic
policy Local pods are treated as outside clients too.

**How it is found.** The cluster CIDR as the cluster states it (kube-proxy's ConfigMap, else what most nodes run with) holds no
address of any running pod of its family, or lies in the Service range. An *info* remarks a cluster CIDR that covers pods and
Services alike where the pod range itself is apart from the Service range (else see KD101).

**What is left alone.** Other detection modes; a cluster without pods; a cluster CIDR that holds some of the pods; Cilium, which
balances the traffic of pods itself. A single node that deviates is found in its rules (KD215).
""",
    hint="Set clusterCIDR in kube-proxy's configuration to the pod range (all families, comma-separated) and restart kube-proxy.",
    run=run,
)
