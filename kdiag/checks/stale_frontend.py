"""KD202: an address that a node serves and that no Service has."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, listed, on_nodes, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port that the rules name, for all nodes that have them."""
    for bundle in bundles_by_service(view, CauseKind.STALE_FRONTEND):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    owner = bundle.differences[0].service_port
    ends = listed((item.actual for item in bundle.differences), 3)
    if owner is None:
        told = "the rules do not tell which one had it"
    elif (service := view.cluster.service_by_key.get(owner.service)) is None:
        told = f"the rules name Service {owner.service}, which does not exist"
    else:
        has = listed(str(address) for address in service.cluster_ips)
        told = f"the rules name Service {owner.service}, which has other addresses or ports (its cluster IP: {has or 'none'})"
    return (
        f"{on_nodes(bundle)}, the rules still serve {through(bundle)} ({ends}), and no Service has the address: {told}. "
        f"This concerns {clients(view, bundle)}. Whoever still uses the address reaches pods that were not "
        "meant for it any more; a new Service that gets the address or port is not reached there."
    )


CHECK = Check(
    code="KD202",
    slug="stale-frontend",
    title="An address is programmed and no Service has it",
    severity=Severity.WARNING,
    explanation="""\
The rules of a node translate, refuse or drop packets to an address that is not (or not any more) an address of a Service.

**What it does to traffic.** Clients that still use the address, from an old DNS answer or a setting, reach pods that no
longer stand for it, or nothing. If the port is a node port, the node takes packets that another program may wait for.

**How it is found.** Every destination that kube-proxy's dispatch chains (KUBE-SERVICES, KUBE-NODEPORTS,
KUBE-EXTERNAL-SERVICES) name is looked up in the API; packets to those that no Service has are followed through the rules.

**What is left alone.** Chains that no dispatch rule leads to: kube-proxy deletes them late in big clusters. Services that
were deleted while the node was read. Rules of others.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
