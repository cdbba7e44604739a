"""KD203: endpoints of a Service that a node never sends to."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import backends_of, clients, count, listed, on_nodes, subject, through, with_owners
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that lack the same endpoints."""
    for bundle in bundles_by_service(view, CauseKind.MISSING_ENDPOINT):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    missing = backends_of(bundle.differences, Symptom.MISSING_ENDPOINT)
    service = bundle.subjects[0] if len(bundle.subjects) == 1 else None
    return (
        f"{on_nodes(bundle)}, {subject(bundle)} never sends to {count(len(missing), 'endpoint')} that it ought to use: "
        f"{with_owners(view.cluster, missing, service)}. All packets to {through(bundle)} end so: "
        f"{listed((item.actual for item in bundle.differences), 3)}. This concerns {clients(view, bundle)}. "
        "The endpoints that are left carry the whole load, and if they fail the Service fails here although others are ready."
    )


CHECK = Check(
    code="KD203",
    slug="missing-endpoint",
    title="An endpoint gets no traffic",
    severity=Severity.ERROR,
    explanation="""\
The API has a usable endpoint for a Service, and the rules of a node never send packets to it: its rule is missing, or it can
not be reached because a rule before it takes everything (a lost `-m statistic --probability`).

**What it does to traffic.** Clients on the node use the other endpoints only. These carry more than their share, and when
they go, the Service is dead on this node although other pods are ready.

**How it is found.** The share of packets that each endpoint gets is worked out from the rules, and compared with the
endpoints that kube-proxy would use on this node. The evidence are the rules that the packets take instead.

**What is left alone.** Endpoints that this node has no business with: internal or external traffic policy `Local`, topology
hints. Endpoints that are not ready, or terminating while others serve. Endpoints that came while the node was read.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
