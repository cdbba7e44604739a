"""KD225: rules of another mode of kube-proxy on a node."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_node, finding, rules_of, rules_with_differences
from kdiag.checks.group_words import lines_by_service, listed, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import IN_THE_WAY, CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per node: a warning where packets may meet what was left, else a remark."""
    for bundle in bundles_by_node(view, CauseKind.LEFTOVERS):
        met = bool(bundle.differences) or any(group.actual == IN_THE_WAY for group in bundle.groups)
        yield finding(
            CHECK,
            view,
            bundle,
            severity=Severity.WARNING if met else Severity.INFO,
            message=_message(view, bundle, met=met),
            actual=listed(dict.fromkeys(group.detail for group in bundle.groups)),
            rules=(*rules_of(bundle), *rules_with_differences(bundle)),
        )


def _message(view: View, bundle: Bundle, *, met: bool) -> str:
    node = view.node_by_name[bundle.nodes[0]]
    left = listed(dict.fromkeys(group.detail for group in bundle.groups))
    told = f"{on_nodes(bundle)}, kube-proxy runs in {node.mode or 'another'} mode, and {left} are still there."
    if bundle.differences:
        return f"{told} They decide what happens to some packets:\n{lines_by_service(view, bundle)}"
    if met:
        return f"{told} The kernel still asks them; nobody keeps them up to date, and whether it asks them first no dump shows."
    return f"{told} No packet of a Service is led astray by them."


CHECK = Check(
    code="KD225",
    slug="mode-leftovers",
    title="Another mode of kube-proxy left rules behind",
    severity=Severity.WARNING,
    explanation="""\
kube-proxy was switched from one mode to another on this node, and what the first mode wrote is still there: virtual servers
and addresses on kube-ipvs0, KUBE-SVC chains, or table kube-proxy. Only the start of nftables mode and `kube-proxy --cleanup`
take such things away; everything of IPVS mode stays after a switch to iptables mode.

**What it does to traffic.** Chains that nothing leads to, and virtual servers behind rules that translate first, do nothing:
that is a remark. A Service address that is left on kube-ipvs0 makes the node take packets to it for its own, so that rules for
forwarded packets never see them: a Service without endpoints is then not refused as it ought to be. Two sets of rules that
both translate are worse: the kernel asks both, and one of them is never updated again.

**How it is found.** The node's mode is what its proxy answers, or what its configuration says. Everything that was recorded of
other modes is walked too; differences that only the left-overs explain are listed here and nowhere else.

**What is left alone.** Chains that kubelet writes, the chains that IPVS mode shares with iptables mode, canaries, and ipsets
that no rule asks.
""",
    hint=(
        "Restart the node, or stop kube-proxy, run `kube-proxy --cleanup` with the same release, and start it again: it writes "
        "what it needs anew."
    ),
    run=run,
    needs_nodes=True,
)
