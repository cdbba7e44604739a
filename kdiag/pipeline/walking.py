"""One walk in full: every rule passed, branch by branch, beside what ought to have happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdiag.compare.judge import judge
from kdiag.compare.outcomes import describe
from kdiag.model.addresses import Address, AddressSet, Family, SocketAddress, family_of
from kdiag.model.cluster import ClusterState, Pod
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    Disposition,
    Fate,
    Frontend,
    Masquerade,
    Outcome,
    Passed,
    Position,
)
from kdiag.model.facts import FactKind
from kdiag.model.trace import TraceBranch, TraceStep, TraceWalk
from kdiag.model.view import NodeView, View
from kdiag.planes import PLANES
from kdiag.planes.interface import NodeEvidence
from kdiag.walk.network import NodeNetwork, node_network
from kdiag.walk.walker import Leaf


def walk_in_full(view: View, node: NodeView, frontend: Frontend, pod: Pod | None) -> TraceWalk | None:
    """Follow the packets of one client (a pod), or else of those clients that show most, to the frontend.

    None if the node's plane cannot be followed or has no such client.
    """
    network = network_of(view, node, frontend.address)
    clients = _clients(node, network, frontend, pod)
    leaves = ends(node, network, frontend, clients)
    if not leaves:
        return None
    expected = node.expected.behaviours.get(frontend) if node.expected else None
    legal = _legal(expected, clients)
    branches = [_branch(view.cluster, network, frontend, leaf, legal, pod) for leaf in leaves]
    branches.sort(key=lambda item: _order(item.steps))
    return TraceWalk(
        node=node.name,
        frontend=frontend,
        expected=" or ".join(dict.fromkeys(describe(outcome) for outcome in legal)) or "no Service has this address",
        branches=tuple(branches),
        missing=_missing(view.cluster, legal, leaves),
    )


def network_of(view: View, node: NodeView, address: Address) -> NodeNetwork:
    """The node's network in the family of an address."""
    return node_network(
        family_of(address),
        node.host,
        node.node,
        view.cluster.pods_by_node.get(node.name, ()),
        view.facts.networks(FactKind.SERVICE_RANGE),
    )


def ends(node: NodeView, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]) -> list[Leaf]:
    """Every end of the packets that the clients send; none if the node's plane cannot be followed."""
    plane = next((item for item in PLANES if item.mode is node.mode), None)
    if plane is None or plane.follow is None:
        return []
    evidence = NodeEvidence(
        node_name=node.name,
        probes={},
        host=node.host,
        rulesets=node.rulesets,
        ipsets=node.ipsets,
        nft=node.nft,
        ipvs=node.ipvs,
    )
    return plane.follow(evidence, network, frontend, clients)


def filter_seen(node: NodeView, family: Family) -> bool:
    """False where the filter table of a family was not recorded: what is refused and what is untouched look alike."""
    return all(ruleset.covers_table("filter") for ruleset in node.rulesets if ruleset.family is family)


def _clients(node: NodeView, network: NodeNetwork, frontend: Frontend, pod: Pod | None) -> tuple[ClientSet, ...]:
    """The clients to show: the pod that was named; else those that suffer; else the largest group that fares alike."""
    everybody = network.clients(frontend.position, frontend.address)
    if pod is not None:
        own = AddressSet.of(network.family, pod.ips)
        return tuple(chosen for item in everybody if (chosen := _only(item, own)))
    expected = node.expected.behaviours.get(frontend) if node.expected else None
    actual = node.actual.behaviours.get(frontend) if node.actual else None
    if actual is None or not actual.cases:
        return everybody[:1]
    if expected is not None:
        differences = judge(
            node.name, frontend, expected, actual, None, filter_seen=filter_seen(node, frontend.family)
        ).differences
        if differences:
            return (_one_case(actual, differences[0].clients),)
    if frontend.position is Position.NODE:
        # The node's own packets leave with the address that routing picks; take that one where it is known.
        source = network.source_for(frontend.address)
        if source is not None:
            own = AddressSet.of(network.family, (source,))
            picked = tuple(chosen for item in everybody if (chosen := _only(item, own)))
            if picked:
                return picked
    return (max(actual.cases, key=lambda case: case.clients.addresses.size).clients,)


def _only(clients: ClientSet, addresses: AddressSet) -> ClientSet:
    return ClientSet(addresses=clients.addresses & addresses, interfaces=clients.interfaces)


def _one_case(actual: Behaviour, clients: ClientSet) -> ClientSet:
    """The largest case that lies in these clients, so that all of its packets fare alike."""
    inside = [both for case in actual.cases if (both := case.clients & clients)]
    return max(inside, key=lambda item: item.addresses.size) if inside else clients


def _legal(expected: Behaviour | None, clients: Sequence[ClientSet]) -> tuple[Outcome, ...]:
    if expected is None:
        return ()
    cases: list[Case] = [case for case in expected.cases if any(case.clients & item for item in clients)]
    return tuple(dict.fromkeys(outcome for case in cases for outcome in case.outcomes))


def _branch(
    cluster: ClusterState,
    network: NodeNetwork,
    frontend: Frontend,
    leaf: Leaf,
    legal: tuple[Outcome, ...],
    pod: Pod | None,
) -> TraceBranch:
    steps = tuple(_step(step) for step in (leaf.passed.steps() if leaf.passed else ()))
    unclear = bool(leaf.assumptions)
    return TraceBranch(
        clients=leaf.clients,
        fate=leaf.fate,
        share=leaf.weight,
        steps=steps,
        endpoint=_owner(cluster, leaf.fate.backend, legal) if leaf.fate.backend else "",
        source_address=_source(network, frontend, leaf, pod),
        legal=None if unclear or not legal else _is_legal(leaf.fate, legal),
        unclear=unclear,
    )


def _step(step: Passed) -> TraceStep:
    return TraceStep(
        hook=step.hook,
        table=step.met.table,
        chain=step.met.chain,
        action=step.met.action,
        share=step.weight,
        depth=step.depth,
        rule=None if step.met.is_policy else step.ref(),
        unclear=step.unclear,
    )


def _order(steps: Sequence[TraceStep]) -> tuple[tuple[int, str], ...]:
    """Branches in the order of the rules that part them."""
    return tuple((step.rule.line if step.rule else 0, step.action) for step in steps)


def _is_legal(fate: Fate, legal: Sequence[Outcome]) -> bool:
    for outcome in legal:
        for allowed, _ in outcome.shares:
            same_end = allowed.disposition is fate.disposition and (
                fate.disposition is not Disposition.BACKEND or allowed.backend == fate.backend
            )
            same_source = allowed.masquerade is fate.masquerade or fate.masquerade is Masquerade.OTHER
            if same_end and same_source and allowed.affinity_s == fate.affinity_s:
                return True
    return False


def _owner(cluster: ClusterState, backend: SocketAddress, legal: Iterable[Outcome]) -> str:
    """Whose address a backend is, in words. What is legal is an endpoint of the Service."""
    pods = cluster.pods_by_address.get(backend.address, ())
    if len(pods) == 1:
        pod = pods[0]
        state = "terminating" if pod.meta.deleted_at else ("ready" if pod.ready else "not ready")
        return f"pod {pod.key} on {pod.node_name or 'no node'}, {state}"
    if pods:
        return f"host network of {pods[0].node_name or 'a node'}"
    node = cluster.node_by_address.get(backend.address)
    if node is not None:
        return f"node {node.name}"
    known = any(backend in outcome.backends for outcome in legal) or cluster.is_in_a_slice(backend.address)
    return "no pod: an endpoint that was entered by hand" if known else "no pod has this address"


def _source(network: NodeNetwork, frontend: Frontend, leaf: Leaf, pod: Pod | None) -> str:
    """The source address that the receiver sees, in words."""
    if leaf.fate.disposition is not Disposition.BACKEND or leaf.fate.backend is None:
        return ""
    if leaf.fate.masquerade is not Masquerade.NO:
        written = network.source_for(leaf.fate.backend.address)
        return str(written) if written is not None else "an address of the node"
    if leaf.clients.addresses.size == 1:
        return str(leaf.clients.addresses.first())
    return "the client's own"


def _missing(cluster: ClusterState, legal: Sequence[Outcome], leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """Endpoints that ought to be reached and are not."""
    if not legal:
        return ()
    reached = {leaf.fate.backend for leaf in leaves if leaf.fate.disposition is Disposition.BACKEND}
    wanted = min(legal, key=lambda outcome: len(set(outcome.backends) - reached))
    return tuple(
        f"{backend} is not reached: {_owner(cluster, backend, legal)}"
        for backend in wanted.backends
        if backend not in reached
    )
