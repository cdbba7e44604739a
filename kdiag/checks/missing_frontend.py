"""KD201: an address of a Service for which a node has no rule."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that lack it."""
    for bundle in bundles_by_service(view, CauseKind.MISSING_FRONTEND):
        yield finding(
            CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes, CHECK.hint)
        )


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, no rule catches packets to {through(bundle)} of {subject(bundle)}: they pass kube-proxy's "
        f"chains and keep that destination. This concerns {clients(view, bundle)}. "
        "Their connections time out or are refused, because nothing else answers at the address."
    )


CHECK = Check(
    code="KD201",
    slug="missing-frontend",
    title="A Service address is not programmed",
    severity=Severity.ERROR,
    explanation="""\
A Service has an address (cluster IP, node port, external IP, load-balancer IP) and usable endpoints, and the rules of a node
do nothing with packets to it.

**What it does to traffic.** The packets keep the Service's address, which no machine has. They follow the default route and
get lost, or the node refuses them. Clients see time-outs on this node and no trouble on others.

**How it is found.** Packets to each address are followed through the node's rules from the netfilter hook on, once for pods,
the node itself and outside clients. They come out untranslated and never met a chain of the Service. The evidence is the
last rule of kube-proxy that they passed.

**What is left alone.** Headless and ExternalName Services, Services that another proxy serves
(`service.kubernetes.io/service-proxy-name`), load-balancer addresses of mode `Proxy`, addresses of a family without
endpoints, and what changed while the node was read. When several Services of a node are out of date it is told as KD223,
and a missing jump or an empty chain as KD210, KD211, KD212 or KD222.
""",
    hint="Compare with a node that works: kdiag trace shows the way of a packet on each.",
    run=run,
    needs_nodes=True,
)
