"""KD411: a connection tracking table that is nearly full."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_host
from kdiag.checks.interface import Check
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

COUNT = "net.netfilter.nf_conntrack_count"
MAXIMUM = "net.netfilter.nf_conntrack_max"

NEARLY_FULL = 0.9


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        count, maximum = _number(node.host.sysctls.get(COUNT)), _number(node.host.sysctls.get(MAXIMUM))
        # A maximum of 0 means that there is no limit.
        if count is None or not maximum or count <= NEARLY_FULL * maximum:
            continue
        full = count >= maximum
        yield CHECK.finding(
            severity=Severity.ERROR if full else None,
            node=node.name,
            expected=f"less than {maximum} connections",
            actual=f"{count} connections",
            message=(
                f"The connection tracking table of {node.name} holds {count} of {maximum} connections "
                f"({count / maximum:.0%}). When it is full, packets of new connections are dropped, to Services and all else."
            ),
            evidence=from_host(node, "sysctls", f"{COUNT} = {count}, {MAXIMUM} = {maximum}"),
        )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


CHECK = Check(
    code="KD411",
    slug="conntrack-full",
    title="The connection tracking table is nearly full",
    severity=Severity.WARNING,
    explanation="""\
Every connection to a Service has an entry in the kernel's connection tracking table of the node. The table has a limit,
which kube-proxy sets from `conntrack.maxPerCore` and `conntrack.min`.

**What it does to traffic.** When the table is full, the kernel drops the first packet of new connections
(`nf_conntrack: table full, dropping packet`).

**How it is found.** `net.netfilter.nf_conntrack_count` is more than 90 % of `net.netfilter.nf_conntrack_max`; it is an error
when it has reached it.

**What is left alone.** Nodes where the two were not recorded together.
""",
    hint="Raise conntrack.maxPerCore in kube-proxy's configuration, or find who opens so many connections: conntrack -S.",
    run=run,
    needs_nodes=True,
)
