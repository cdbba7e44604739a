"""KD213: a node where kube-proxy's masquerade does not work at all."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles, by_fault, finding, proxy_hint
from kdiag.checks.group_words import clients, count, families, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

TRACKED = "net.ipv4.vs.conntrack = 1"
UNTRACKED_HINT = "sysctl -w net.ipv4.vs.conntrack=1; kube-proxy sets it when it starts, so find out what sets it back."


def run(view: View) -> Iterable[Finding]:
    """One finding for all nodes and families with the same fault."""
    for bundle in bundles(view, CauseKind.MASQUERADE_RULE, by_fault):
        untracked = bundle.groups[0].expected == TRACKED
        hint = UNTRACKED_HINT if untracked else proxy_hint(view, bundle.nodes, CHECK.hint)
        severity = CHECK.severity if bundle.differences else Severity.WARNING
        yield finding(CHECK, view, bundle, severity=severity, message=_message(view, bundle), hint=hint)


def _message(view: View, bundle: Bundle) -> str:
    where = f"{on_nodes(bundle)} ({families(bundle.families)}), {bundle.groups[0].detail}. "
    if not bundle.differences:
        return f"{where}No Service was found to suffer from it now."
    suffer = "suffers" if len(bundle.subjects) == 1 else "suffer"
    return (
        f"{where}Packets are sent to the right endpoints, and those whose source address has to be rewritten keep it: the "
        "endpoint answers the client past this node, the client does not know the answer, and the connection hangs. That hits "
        "node ports with an endpoint on another node, clients from outside the pods' range, and pods that reach themselves "
        f"through a Service. {count(len(bundle.subjects), 'Service')} {suffer} from it, for {clients(view, bundle)}."
    )


CHECK = Check(
    code="KD213",
    slug="masquerade-rule-missing",
    title="The masquerade rule or its mark is missing",
    severity=Severity.ERROR,
    explanation="""\
kube-proxy marks packets whose source address has to be rewritten (KUBE-MARK-MASQ sets a bit, 0x4000 by default), and
KUBE-POSTROUTING masquerades what has the mark. One of the two is missing, or they use different bits. (Chain `masquerading`
of table kube-proxy in nftables mode.) In IPVS mode the same comes from `net.ipv4.vs.conntrack = 0`: virtual servers then take
their packets out of connection tracking, and no nat rule sees them.

**What it does to traffic.** Packets reach the right endpoint with their original source address. The answer goes to the
client directly and not back through this node, so the client does not know it. Connections from outside through node ports,
and from a pod to itself through its Service, hang; others work.

**How it is found.** Both chains are read: KUBE-MARK-MASQ has to set a mark, KUBE-POSTROUTING has to have a MASQUERADE (or
SNAT) that asks for the same bit. The Services whose packets are not masqueraded because of it are listed; where there are
none (another program masquerades them), it is a warning.

**What is left alone.** Any bit is right as long as both chains agree (`masqueradeBit`). All spellings: `--set-xmark`,
`--or-mark`, RETURN for unmarked packets or a match on the MASQUERADE itself. Masquerading by other programs.
""",
    hint="If the bits differ, give kubelet and kube-proxy the same --iptables-masquerade-bit.",
    run=run,
    needs_nodes=True,
)
