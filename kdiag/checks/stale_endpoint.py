"""KD204: a backend that a node sends to and that is no endpoint of the Service."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import backends_of, clients, listed, on_nodes, share_text, subject, through, with_owners
from kdiag.checks.interface import Check
from kdiag.model.dataplane import Disposition
from kdiag.model.difference import CauseKind, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that send to the same wrong places."""
    for bundle in bundles_by_service(view, CauseKind.STALE_ENDPOINT):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes),
            rules=rules_with_differences(bundle),
        )


def _message(view: View, bundle: Bundle) -> str:
    stale = backends_of(bundle.differences, Symptom.STALE_ENDPOINT)
    missing = backends_of(bundle.differences, Symptom.MISSING_ENDPOINT)
    service = bundle.subjects[0] if len(bundle.subjects) == 1 else None
    share = share_text(
        (item for item in bundle.differences if item.symptom is Symptom.STALE_ENDPOINT),
        lambda item, fate: fate.disposition is Disposition.BACKEND and fate.backend in item.backends,
    )
    lacking = f" It never sends to {listed(str(item) for item in missing)}, which it ought to use." if missing else ""
    return (
        f"{on_nodes(bundle)}, {subject(bundle)} sends {share} to {with_owners(view.cluster, stale, service)}, "
        f"{'which is no usable endpoint' if len(stale) == 1 else 'which are no usable endpoints'} of the Service.{lacking} "
        f"This concerns packets to {through(bundle)}, from {clients(view, bundle)}. "
        "Such a connection fails, or reaches a pod that was not meant."
    )


CHECK = Check(
    code="KD204",
    slug="stale-endpoint",
    title="Traffic goes to an endpoint that is gone",
    severity=Severity.ERROR,
    explanation="""\
The rules of a node send packets for a Service to an address that is not a usable endpoint of the Service: the pod is gone,
is not ready, or belongs to another Service.

**What it does to traffic.** A share of the connections (one in n with n endpoints) times out, is answered with "no route to
host", or reaches the wrong program: addresses of pods are used again.

**How it is found.** Packets are followed to the DNAT that they meet, and its address is looked up in the EndpointSlices (or
Endpoints, for old proxies). The message says who has the address now. An endpoint that was replaced shows as stale and
missing at once and is told here alone.

**What is left alone.** Terminating endpoints where no other one serves. Endpoints that went while the node was read. Rules
of others that send elsewhere (KD209). When several Services of a node are out of date it is told as KD223.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
