"""KD205: an endpoint that a node reaches at the wrong port."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import backends_of, clients, listed, on_nodes, share_text, subject, through, with_owners
from kdiag.checks.interface import Check
from kdiag.model.dataplane import Disposition
from kdiag.model.difference import CauseKind, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that use the same wrong ports; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.WRONG_PORT):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    wrong = backends_of(bundle.differences, Symptom.WRONG_PORT)
    service = bundle.subjects[0] if len(bundle.subjects) == 1 else None
    share = share_text(
        bundle.differences,
        lambda item, fate: fate.disposition is Disposition.BACKEND and fate.backend in item.backends,
    )
    right = listed((item.expected for item in bundle.differences), 3)
    return (
        f"{on_nodes(bundle)}, {subject(bundle)} sends {share} to {with_owners(view.cluster, wrong, service)}: "
        f"the address is right, the port is not (expected: {right}). This concerns packets to {through(bundle)}, "
        f"from {clients(view, bundle)}. Such a connection is refused, unless another program listens at that port."
    )


CHECK = Check(
    code="KD205",
    slug="wrong-port",
    title="An endpoint is reached at the wrong port",
    severity=Severity.ERROR,
    explanation="""\
The rules of a node send packets for a Service to the right address and to a port that the endpoint does not have there.

**What it does to traffic.** The pod refuses the connection, or another program in it answers.

**How it is found.** Packets are followed to the DNAT that they meet. Its address belongs to an endpoint of the Service, its
port does not, and the endpoint's own port is not used. Typical are a `targetPort` that was changed while the proxy no longer
followed the API, and a rule that somebody edited.
Five or more Services of a node with this fault are one finding.

**What is left alone.** Ports of the Service itself and node ports: only where the packets end is compared. Endpoints whose
port changed while the node was read.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
