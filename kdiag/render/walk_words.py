"""What walks are told in: the words for clients, addresses, shares and ends that text and pictures have in common."""

from __future__ import annotations

from kdiag.model.dataplane import ClientSet, Disposition, Fate, FrontendKind, Masquerade, Position
from kdiag.model.trace import TraceBranch, TraceWalk

FROM = {Position.POD: "a pod", Position.NODE: "the node", Position.EXTERNAL: "outside"}
"""Where a client is, in words."""

KINDS = {
    FrontendKind.CLUSTER_IP: "cluster IP",
    FrontendKind.EXTERNAL_IP: "external IP",
    FrontendKind.LOAD_BALANCER_IP: "load-balancer IP",
    FrontendKind.NODE_PORT: "node port",
}
"""Kinds of addresses, in words."""

_THE_CLIENTS_OWN = "the client's own"
_A_FOREIGN_RULE = "a rule that is not kube-proxy's"


def title_words(walk: TraceWalk, *, owned: bool) -> str:
    """The way that is shown. `owned`: a Service has the address."""
    frontend = walk.frontend
    to = f"{KINDS[frontend.kind]} {frontend.label}" if owned else frontend.label
    return f"The way of a new connection on {walk.node}, from {FROM[frontend.position]} to {to}"


def verdict_words(branch: TraceBranch) -> str:
    """`as expected`, `WRONG`, `cannot tell`, `not judged`."""
    if branch.unclear:
        return "cannot tell"
    if branch.legal is None:
        return "not judged"
    return "as expected" if branch.legal else "WRONG"


def share_words(share: float) -> str:
    """`50%`, or that it is all."""
    return percent(share) if share < 0.9999995 else "every connection"


def end_words(branch: TraceBranch) -> str:
    """Where the branch ends, whose address that is, and as whom the client is seen there."""
    parts = [fate_words(branch.fate)]
    if branch.endpoint:
        parts[0] += f" ({branch.endpoint})"
    if branch.fate.disposition is Disposition.BACKEND and branch.fate.backend is not None:
        parts[0] += f", {_source(branch)}"
    if branch.fate.affinity_s is not None:
        parts.append(f"the client stays with this endpoint for {branch.fate.affinity_s} s")
    return "; ".join(parts)


def fate_words(fate: Fate) -> str:
    """How a packet ends."""
    to = f" to {fate.backend}" if fate.backend is not None else ""
    return {
        Disposition.BACKEND: f"arrives at {fate.backend or 'the proxy process, which chooses the endpoint'}",
        Disposition.UNTRANSLATED: "goes on with its destination unchanged: no rule takes it for a Service",
        Disposition.REJECTED: f"refused{f' after DNAT{to}' if to else ''}: the client gets an error at once",
        Disposition.DROPPED: f"dropped{f' after DNAT{to}' if to else ''}: the client waits until it gives up",
        Disposition.UNKNOWN: "taken by a target whose effect kdiag does not know",
    }[fate.disposition]


def _source(branch: TraceBranch) -> str:
    """The source address that the endpoint sees, and who rewrote it."""
    seen = branch.source_address
    if branch.fate.masquerade is Masquerade.NO:
        own = "from the client's own address"
        return own if seen in ("", _THE_CLIENTS_OWN) else f"{own}, {seen}"
    by_proxy = branch.fate.masquerade is Masquerade.PROXY
    who = f"masqueraded by {'kube-proxy' if by_proxy else _A_FOREIGN_RULE}"
    return f"{who} as coming from {seen}" if seen else who


def client_words(clients: ClientSet) -> str:
    """`10.244.2.0/24 by cni0, any other interface`."""
    if clients.interfaces is None:
        return clients.addresses.describe()
    names = [interface or "any other interface" for interface in sorted(clients.interfaces, key=lambda i: (not i, i))]
    return f"{clients.addresses.describe()} by {', '.join(names)}"


def percent(share: float) -> str:
    """`33.3%`; what is not nothing is not printed as nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + "%"
