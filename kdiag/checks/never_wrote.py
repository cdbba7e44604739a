"""KD211: a node without any rule of kube-proxy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.group_finding import Bundle, bundles, finding, proxy_hint
from kdiag.checks.group_words import count, families, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family
from kdiag.model.difference import CauseKind
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import NodeView, View


def run(view: View) -> Iterable[Finding]:
    """One finding for all nodes on which the same families are empty."""
    families_of: dict[str, set[Family]] = {}
    for group in view.groups(CauseKind.NEVER_WROTE):
        families_of.setdefault(group.node, set()).add(group.family)
    for bundle in bundles(view, CauseKind.NEVER_WROTE, lambda group: frozenset(families_of[group.node])):
        nodes = [view.node_by_name[name] for name in bundle.nodes]
        affected = tuple(dict.fromkeys(place for node in nodes for place in _expected_places(view, bundle, node)))
        single = tuple(line for node in nodes for line in _served_family_lines(bundle, node))
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(bundle, affected, told_single=bool(single)),
            hint=_hint(view, bundle, nodes, told_single=bool(single)),
            affected=affected,
            rules=[rule for group in bundle.groups for rule in group.rules],
            more_evidence=single,
        )


def _hint(view: View, bundle: Bundle, nodes: Iterable[NodeView], *, told_single: bool) -> str:
    if told_single:
        return (
            "kube-proxy found no way to program that family when it started: install what its log misses "
            "(ip6tables, or the kernel's modules for it) and restart it."
        )
    hint = proxy_hint(view, bundle.nodes)
    if any(node.mode is ProxyMode.USERSPACE and (node.version or (1, 19)) >= (1, 19) for node in nodes):
        # pkg/proxy/userspace has no handler for EndpointSlices, which kube-proxy follows by default from 1.19 on.
        hint = (
            "In userspace mode kube-proxy needs `featureGates: {EndpointSliceProxying: false}`: with EndpointSlices it "
            f"looks healthy and programs nothing. {hint}"
        )
    return hint


def _message(bundle: Bundle, affected: tuple[Affected, ...], *, told_single: bool) -> str:
    services = len({place.service for place in affected})
    family = families(bundle.families)
    log = " Its log says that it serves the other family only." if told_single else ""
    there = "this node" if len(bundle.nodes) == 1 else "these nodes"
    return (
        f"{on_nodes(bundle)}, the {family} rules hold no Service of kube-proxy at all: it has not written there since the rules "
        f"were last emptied (the node's start, a flush).{log} Every {family} address of {count(services, 'Service')} is dead "
        f"on {there}, for pods, for the node itself and for clients outside."
    )


def _expected_places(view: View, bundle: Bundle, node: NodeView) -> Iterator[Affected]:
    """Every Service port that has an address in the families concerned."""
    for frontend, behaviour in (node.expected.behaviours if node.expected else {}).items():
        owner = behaviour.service_port
        if owner is None or frontend.family not in bundle.families:
            continue
        service = view.cluster.service_by_key.get(owner.service)
        for port in service.ports if service is not None else ():
            if port.name == owner.port_name and port.protocol is owner.protocol:
                yield Affected(node=node.name, service=str(owner.service), port=port.label)


def _served_family_lines(bundle: Bundle, node: NodeView) -> tuple[Evidence, ...]:
    """What the proxy's log says about serving one family only, if that is not the one that is empty."""
    log = node.host.log
    if log is None or log.single_family is None or log.single_family in bundle.families:
        return ()
    lines = tuple((line, text) for line, text in log.notes if "family" in text.lower())
    return tuple(Evidence(source=log.source, line=line, text=text.strip()[:300]) for line, text in lines) or (
        Evidence(source=log.source, text=f"serves {log.single_family} only"),
    )


CHECK = Check(
    code="KD211",
    slug="never-wrote",
    title="kube-proxy has written no rules",
    severity=Severity.ERROR,
    explanation="""\
A node has nothing of kube-proxy, in one family or in both: in iptables mode no KUBE-SERVICES and no KUBE-SVC-… in the nat
table, in nftables mode no table `kube-proxy`, in IPVS mode no virtual server and no address on kube-ipvs0, in userspace mode
no portal.

**What it does to traffic.** No Service works on the node: neither cluster DNS nor the API server's address. If it is one
family, all addresses of that family are dead. Other nodes do not notice, except through node ports of this one.

**How it is found.** The complete dump was read and has none of it, although the API has Services with addresses of the
family. It is one finding, not one for every Service or node. The evidence is the dump as a whole, and what kube-proxy's log says
about serving one family only (it looks for `ip6tables` once, when it starts).

**What is left alone.** Nodes where another program does kube-proxy's work or another mode is at work. Dumps that were cut
off or could not be had: those are gaps. Families that no Service has.
""",
    hint="See whether kube-proxy runs on the node, and what its log says.",
    run=run,
    needs_nodes=True,
)
