"""What the checks of address ranges share: which ranges are in force, who has which address, how pods get theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kdiag.checks.evidence import from_api
from kdiag.model.addresses import Address, Family, Network, family_of, parse_address, parse_network
from kdiag.model.cluster import ClusterState, Node, Pod, Service
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.host import InterfaceAddress
from kdiag.model.proxy import DetectLocalMode
from kdiag.model.report import Evidence
from kdiag.model.view import View
from kdiag.parse.cni import AddressSource, recognise_cni

FAMILIES = (Family.IPV4, Family.IPV6)

APISERVER = "kube-apiserver"
CONTROLLERS = "kube-controller-manager"
PLAN = "plan"
"""The component of facts that an option states for a cluster that is planned."""

_ALL_IN_ONE = frozenset({"k3s server", "rke2 server"})
_ENOUGH_PODS = 5
"""Pods that must have been looked at before their addresses prove how the CNI gives them out."""


def fact_evidence(facts: Iterable[Fact]) -> tuple[Evidence, ...]:
    """The places of the facts, with what stands there in a few words."""
    return tuple(Evidence(source=fact.source, line=fact.line, text=describe_fact(fact)) for fact in facts)


def describe_fact(fact: Fact) -> str:
    """`kube-apiserver on cp1 --service-cluster-ip-range=10.96.0.0/12`, in the order component, node, flag, value."""
    who = f"{fact.component} on {fact.node}" if fact.node and fact.node not in fact.component else fact.component
    if fact.flag == "default":
        return f"{who}: {fact.value} (default)"
    return f"{who} {fact.flag}={fact.value}" if fact.flag.startswith("--") else f"{who} {fact.flag}: {fact.value}"


def service_range_facts(facts: Facts) -> tuple[Fact, ...]:
    """The statements about the Service ranges that are in force.

    Those of whoever allocates: ServiceCIDR objects and API servers (k3s and RKE2 servers among them). Without any, what
    the controller manager was told, and without that kubeadm's record, which nothing keeps up to date. Planned ranges
    come on top of them.
    """
    stated = facts.of(FactKind.SERVICE_RANGE)
    planned = tuple(fact for fact in stated if fact.component == PLAN)
    allocators = tuple(
        fact
        for fact in stated
        if fact.component == APISERVER or fact.component in _ALL_IN_ONE or fact.component.startswith("ServiceCIDR ")
    )
    for group in (
        allocators,
        tuple(fact for fact in stated if fact.component == CONTROLLERS),
        tuple(fact for fact in stated if fact.component == "kubeadm"),
    ):
        if group:
            return group + planned
    return planned


def networks_of(facts: Iterable[Fact], family: Family | None = None) -> tuple[Network, ...]:
    """The distinct networks that the facts state, ascending; of one family if given."""
    found = {network for fact in facts for network in fact.networks if family in (None, family_of(network))}
    return tuple(sorted(found, key=network_order))


def network_order(network: Network) -> tuple[int, int, int]:
    """Sorts networks of both families: by family, address and size, the largest first."""
    return (network.version, int(network.network_address), network.prefixlen)


def contains(outer: Network, inner: Network) -> bool:
    """True if `inner` lies in `outer`; networks of different families never do."""
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and int(inner.network_address) >> (inner.max_prefixlen - outer.prefixlen)
        == int(outer.network_address) >> (outer.max_prefixlen - outer.prefixlen)
    )


def overlap(left: Network, right: Network) -> Network | None:
    """What two networks share, which is the smaller of them; None if they are apart or of different families."""
    if contains(left, right):
        return right
    return left if contains(right, left) else None


def outermost(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The networks that lie in no other one, ascending."""
    kept: list[Network] = []
    for network in sorted(set(networks), key=network_order):
        if not any(contains(other, network) for other in kept):
            kept.append(network)
    return tuple(kept)


def allocated_services(state: ClusterState) -> tuple[Service, ...]:
    """Services that hold cluster IPs, by name."""
    found = [item for item in state.services if item.cluster_ips and not item.headless and item.type != "ExternalName"]
    return tuple(sorted(found, key=lambda item: item.key))


def running_pods(state: ClusterState) -> tuple[Pod, ...]:
    """Pods with a network of their own that run and are not about to go, by name."""
    found = [
        pod
        for pod in state.pods
        if pod.phase == "Running" and not pod.host_network and pod.meta.deleted_at is None and pod.ips
    ]
    return tuple(sorted(found, key=lambda pod: pod.key))


def is_virtual(node: Node) -> bool:
    """True for a node without a network of its own: a virtual kubelet, a Fargate pod."""
    labels = node.meta.labels
    return (
        labels.get("type") == "virtual-kubelet"
        or labels.get("eks.amazonaws.com/compute-type") == "fargate"
        or any(taint.startswith("virtual-kubelet.io/") for taint in node.taints)
    )


def judged_nodes(state: ClusterState) -> tuple[Node, ...]:
    """Linux nodes that are machines, by name."""
    found = [node for node in state.nodes if node.os == "linux" and not is_virtual(node)]
    return tuple(sorted(found, key=lambda node: node.name))


def node_addresses(node: Node) -> Iterator[tuple[str, Address]]:
    """The addresses of a Node object, with their type (`InternalIP`, `ExternalIP`)."""
    for kind, text in node.addresses:
        address = parse_address(text) if kind in ("InternalIP", "ExternalIP") else None
        if address is not None:
            yield kind, address


def node_address_evidence(state: ClusterState, found: Iterable[tuple[Node, Address]]) -> tuple[Evidence, ...]:
    """Where the API states the addresses of nodes."""
    return tuple(
        evidence for node, address in found for evidence in from_api(state, "nodes", f"Node {node.name} has {address}")
    )


def pods_in_node_ranges(state: ClusterState) -> Counter[bool]:
    """How many addresses of running pods lie in (True) and outside (False) of their own node's podCIDRs."""
    counts: Counter[bool] = Counter()
    for _, address, ranges in pod_placements(state):
        counts[any(address in network for network in ranges)] += 1
    return counts


def pod_placements(state: ClusterState) -> Iterator[tuple[Pod, Address, tuple[Network, ...]]]:
    """Addresses of running pods with the podCIDRs that their node has in that family; none without such a range."""
    for pod in running_pods(state):
        node = state.node_by_name.get(pod.node_name or "")
        for address in pod.ips:
            ranges = tuple(
                item for item in (node.pod_cidrs if node is not None else ()) if item.version == address.version
            )
            if ranges:
                yield pod, address, ranges


def uses_node_ranges(state: ClusterState) -> bool:
    """True if the CNI takes pod addresses from node.spec.podCIDRs.

    Known products are taken at their word as long as the pods do not show otherwise; of an unknown CNI the pods must
    prove it: at least five addresses, four fifths of them in their node's range.
    """
    counts = pods_in_node_ranges(state)
    total = counts.total()
    match recognise_cni(state).addresses:
        case AddressSource.NODE_RANGE:
            return total < _ENOUGH_PODS or 2 * counts[True] >= total
        case AddressSource.UNKNOWN:
            return total >= _ENOUGH_PODS and 5 * counts[True] >= 4 * total
        case _:
            return False


def pods_share_node_network(view: View) -> bool:
    """True if pods get addresses of the network that the nodes stand in, by design (VPC-native CNIs, macvlan).

    Told by the product, else by pods: one whose address lies in the network of the interface that holds its node's own
    address, in a cluster that does not take pod addresses from node.spec.podCIDRs.
    """
    if recognise_cni(view.cluster).addresses is AddressSource.NODE_NETWORK:
        return True
    if uses_node_ranges(view.cluster):
        return False
    for node in view.nodes:
        if node.node is None:
            continue
        own = {address for _, address in node_addresses(node.node)}
        networks = [connected_network(item) for item in node.host.addresses or () if item.address in own]
        pods = [pod for pod in view.cluster.pods_by_node.get(node.name, ()) if not pod.host_network]
        for network in networks:
            if network is not None and any(address in network for pod in pods for address in pod.ips):
                return True
    return False


def connected_network(item: InterfaceAddress) -> Network | None:
    """The network that an interface address is part of; None for a single address."""
    if item.prefix_length >= item.address.max_prefixlen:
        return None
    return parse_network(f"{item.address}/{item.prefix_length}")


def pods_outside_cluster_cidr(view: View) -> Mapping[Family, Network]:
    """The cluster CIDR of kube-proxy, by family, where not one running pod of that family lies in it.

    Only where kube-proxy tells pods by it (detectLocalMode ClusterCIDR) and there are pods. Not with Cilium, which
    balances the traffic of pods itself: kube-proxy then never sees a pod as a client.
    """
    config = view.cluster_config
    if config is None or config.detect_local_mode not in (None, DetectLocalMode.CLUSTER_CIDR):
        return {}
    if recognise_cni(view.cluster).product == "Cilium":
        return {}
    out: dict[Family, Network] = {}
    for family in FAMILIES:
        network = config.cluster_cidr(family)
        addresses = [item for pod in running_pods(view.cluster) for item in pod.ips if family_of(item) is family]
        if network is not None and addresses and not any(address in network for address in addresses):
            out[family] = network
    return out


def listed(texts: Iterable[str], limit: int = 5) -> str:
    """The texts in one line, at most `limit` of them."""
    found = list(dict.fromkeys(texts))
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
