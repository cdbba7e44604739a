"""KD212: a chain of kube-proxy that is empty or gone."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.base_jump_missing import severity_of
from kdiag.checks.group_finding import Bundle, bundles_by_node, details, finding, proxy_hint
from kdiag.checks.group_words import clients, count, families, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per node and family; one for both families if the same chains are concerned."""
    for bundle in bundles_by_node(view, CauseKind.FLUSHED, by_detail=True):
        suffering = [group for group in bundle.groups if group.differences]
        yield finding(
            CHECK,
            view,
            bundle,
            severity=min(
                (severity_of(group) for group in suffering), key=lambda item: item.rank, default=Severity.WARNING
            ),
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes, CHECK.hint),
        )


def _message(view: View, bundle: Bundle) -> str:
    lines = [f"- {families(found)}: {detail}" for detail, found in details(bundle)]
    harm = (
        f"{count(len(bundle.subjects), 'Service')} cannot be reached as the API says, by {clients(view, bundle)}."
        if bundle.differences
        else "What suffers from it is already dead for another reason."
    )
    return (
        f"{on_nodes(bundle)}, a chain that kube-proxy fills has no rules, while its other chains are there:\n"
        + "\n".join(lines)
        + f"\n{harm} The chains of the single Services may be whole: nothing leads to them."
    )


CHECK = Check(
    code="KD212",
    slug="chains-flushed",
    title="A chain of kube-proxy was emptied",
    severity=Severity.ERROR,
    explanation="""\
A chain that dispatches to all Services is empty or does not exist, while other chains of kube-proxy do: KUBE-SERVICES or
KUBE-NODEPORTS of the nat table, KUBE-SERVICES of the filter table. Something emptied it after kube-proxy had filled it.

**What it does to traffic.** With KUBE-SERVICES of the nat table every Service address is dead on the node, node ports too
(its last rule leads to them). With KUBE-NODEPORTS all node ports are dead. With the one of the filter table Services without
endpoints are not refused any more, which is a warning only. kube-proxy writes these chains anew at every sync (every 30
seconds unless `syncPeriod` says otherwise), so one that stays empty also shows that it does not run or cannot write.

**How it is found.** The chain has no rule although the API has Services that need one in it. It is one finding; the Services
that suffer are listed.

**What is left alone.** Chains that are rightly empty: KUBE-NODEPORTS without node ports, the filter table's KUBE-SERVICES
while all Services have endpoints. Nodes without any chain of kube-proxy (KD211).
""",
    hint="Find out what emptied the chain.",
    run=run,
    needs_nodes=True,
)
