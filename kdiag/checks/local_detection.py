"""KD215: a node that tells pods from others by a range that is not the cluster's."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles, by_fault, finding, rules_of, rules_with_differences
from kdiag.checks.group_words import clients, count, listed, on_nodes, service_names
from kdiag.checks.interface import Check
from kdiag.model.dataplane import Position
from kdiag.model.difference import CauseKind, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

SOURCE_ONLY = frozenset({Symptom.MASQUERADE_NEEDLESS, Symptom.MASQUERADE_MISSING})


def run(view: View) -> Iterable[Finding]:
    """One finding for all nodes with the same wrong range."""
    for bundle in bundles(view, CauseKind.LOCAL_DETECTION, by_fault):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            rules=(*rules_of(bundle), *rules_with_differences(bundle)),
        )


def _message(view: View, bundle: Bundle) -> str:
    led_astray = service_names(item for item in bundle.differences if item.symptom not in SOURCE_ONLY)
    more = (
        f" Load-balancer addresses and node ports with the Local policy do not let pods through as they ought to: "
        f"{listed(led_astray, 5)}."
        if led_astray
        else ""
    )
    number = len(bundle.subjects)
    return (
        f"{on_nodes(bundle)}, {listed(group.detail for group in bundle.groups)}. {_harm(bundle)} "
        f"{count(number, 'Service')} {'shows' if number == 1 else 'show'} it, for {clients(view, bundle)}."
        f"{more}"
    )


def _harm(bundle: Bundle) -> str:
    """A range that holds no pods masquerades them needlessly; no range at all masquerades nobody."""
    if any(
        item.symptom is Symptom.MASQUERADE_NEEDLESS and item.frontend.position is Position.POD
        for item in bundle.differences
    ):
        return (
            "What comes from pods is taken for traffic from outside: it reaches the right endpoints, but with the node's "
            "address as its source. Network policies and access lists that go by the pod's address do not match any more, "
            "and logs show the node."
        )
    return (
        "What comes from elsewhere to a cluster IP keeps its source address: the endpoint answers past the node that "
        "translated the connection, and it fails wherever the answer takes another way."
    )


CHECK = Check(
    code="KD215",
    slug="local-detection",
    title="Pods are told from other clients by the wrong range",
    severity=Severity.WARNING,
    explanation="""\
kube-proxy masquerades packets for cluster IPs that do not come from pods. What a pod is it is told by `clusterCIDR` (or by
another `detectLocalMode`): its rules have `! -s RANGE -j KUBE-MARK-MASQ`. On a node this range is not the one of the cluster.

**What it does to traffic.** Connections work, and the endpoints see the node's address instead of the client pod's. Network
policies, access lists and logs that go by addresses of pods are wrong. With the `Local` policy pods are not sent past the
restriction to local endpoints any more, so that an address of a load balancer may be dead for them. Without any range clients
outside the cluster are not masqueraded, and their connections to cluster IPs fail where the answer takes another way.

**How it is found.** The ranges in the masquerade rules are compared with the range that kube-proxy ought to use: that of the
cluster's configuration, or, where none is known, what most nodes use.

**What is left alone.** Clusters without a `clusterCIDR`, whose rules have no such match. Detection by interface, bridge or
the node's own range, if the configuration says so. Settings that differ but have not reached the rules (KD1xx, KD404).
""",
    hint="Give kube-proxy on the node the cluster's clusterCIDR, and restart it.",
    run=run,
    needs_nodes=True,
)
