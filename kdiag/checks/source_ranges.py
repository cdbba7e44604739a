"""KD220: a load-balancer address whose source ranges are not enforced as the Service says."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import clients, listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind, Difference
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes where it is wrong alike; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.SOURCE_RANGES):
        yield finding(
            CHECK,
            view,
            bundle,
            severity=_severity(bundle),
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes),
            rules=rules_with_differences(bundle),
        )


def _is_loose(difference: Difference) -> bool:
    """The clients ought to be dropped and are not."""
    return difference.expected == "dropped"


def _lets_in(difference: Difference) -> bool:
    outcome = difference.actual_outcome
    return _is_loose(difference) and outcome is not None and bool(outcome.backends)


def _severity(bundle: Bundle) -> Severity:
    """A warning where nobody gets in and nobody is kept out who ought to get in."""
    harmless = all(_is_loose(item) and not _lets_in(item) for item in bundle.differences)
    return Severity.WARNING if harmless else Severity.ERROR


def _message(view: View, bundle: Bundle) -> str:
    told = []
    if any(_lets_in(item) for item in bundle.differences):
        told.append("lets in clients that are in none of the Service's loadBalancerSourceRanges")
    if any(_is_loose(item) and not _lets_in(item) for item in bundle.differences):
        told.append("does not drop packets of clients that are in none of the Service's loadBalancerSourceRanges")
    if any(not _is_loose(item) for item in bundle.differences):
        told.append("drops clients that are in the Service's loadBalancerSourceRanges")
    owner = bundle.differences[0].service_port
    if len(bundle.subjects) > 1:
        owner = None
    service = view.cluster.service_by_key.get(owner.service) if owner is not None else None
    ranges = listed((str(network) for network in service.source_ranges), 6) if service is not None else ""
    return (
        f"{on_nodes(bundle)}, {through(bundle)} of {subject(bundle)} {listed(told)}"
        f"{f' ({ranges})' if ranges else ''}. This concerns {clients(view, bundle)}. "
        f"What happens to them: {listed((item.actual for item in bundle.differences), 3)}; "
        f"what the API asks for: {listed((item.expected for item in bundle.differences), 3)}."
    )


CHECK = Check(
    code="KD220",
    slug="source-ranges",
    title="Source ranges of a load balancer are not enforced as the Service says",
    severity=Severity.ERROR,
    explanation="""\
`spec.loadBalancerSourceRanges` says who may use the addresses of a load balancer. kube-proxy enforces it on every node, with
a drop (through KUBE-MARK-DROP up to 1.24, in KUBE-PROXY-FIREWALL from 1.25 on) for everybody else.

**What it does to traffic.** Clients that were to be kept out are let in, or clients that are allowed are dropped: errors. If
the packets of those to be kept out reach no endpoint and are only not dropped, they go on to the load balancer and may come
back: a warning. So the same loss weighs less in iptables mode, where the nat rules lead nobody else to an endpoint, than in
nftables mode, where nothing but the drop keeps them out.

**How it is found.** Packets to the address are followed with all sources at once; some that are in no range reach an endpoint
or leave untranslated, or some that are in a range are dropped.
Five or more Services of a node with this fault are one finding.

**What is left alone.** The cluster IP and the node port of the same Service, to which the ranges do not apply. What the load
balancer itself drops before a node sees it. Nodes whose filter table was not recorded.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
