"""KD108: components state different ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from kdiag.checks.addressing import (
    APISERVER,
    CONTROLLERS,
    FAMILIES,
    contains,
    describe_fact,
    fact_evidence,
    listed,
    network_order,
    pods_outside_cluster_cidr,
)
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family, Network, family_of
from kdiag.model.facts import Fact, FactKind
from kdiag.model.proxy import DetectLocalMode
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View
from kdiag.parse.cni import AddressSource, recognise_cni

_DEFAULT_SERVICE_CIDR = "ServiceCIDR kubernetes"


class _Dispute(Struct, frozen=True, kw_only=True):
    """Statements that do not go together, and what is wrong with them in one sentence."""

    facts: tuple[Fact, ...]
    sentence: str
    severity: Severity = Severity.WARNING


def run(view: View) -> Iterable[Finding]:
    """One finding per setting."""
    groups = (
        (FactKind.SERVICE_RANGE, tuple(_service_disputes(view))),
        (FactKind.POD_RANGE, tuple(_pod_disputes(view))),
        (FactKind.NODE_PORT_RANGE, tuple(_node_port_disputes(view))),
    )
    for kind, disputes in groups:
        if disputes:
            yield _finding(kind, disputes)


def _finding(kind: FactKind, disputes: tuple[_Dispute, ...]) -> Finding:
    facts = list(dict.fromkeys(fact for dispute in disputes for fact in dispute.facts))
    nodes = sorted({fact.node for fact in facts if fact.node is not None})
    return CHECK.finding(
        title=f"Components disagree about the {kind}",
        severity=min((dispute.severity for dispute in disputes), key=lambda item: item.rank),
        node=nodes[0] if len(nodes) == 1 and all(fact.node for fact in facts) else None,
        expected=f"one {kind} for all",
        actual=listed(sorted({fact.value for fact in facts})),
        message="\n".join(
            f"{dispute.sentence}: {listed((describe_fact(fact) for fact in dispute.facts), 8)}." for dispute in disputes
        ),
        affected=[Affected(node=node) for node in nodes],
        evidence=fact_evidence(facts),
    )


def _service_disputes(view: View) -> Iterator[_Dispute]:
    stated = view.facts.of(FactKind.SERVICE_RANGE)
    servers = _of_servers(stated)
    objects = tuple(fact for fact in stated if fact.component == _DEFAULT_SERVICE_CIDR)
    controllers = _of(stated, CONTROLLERS)
    if _differ(servers):
        yield _Dispute(
            facts=servers,
            sentence="API servers have different Service ranges, so what one allocates the other takes for an error",
            severity=Severity.ERROR,
        )
    if _uncovered(servers, objects):
        yield _Dispute(
            facts=(*servers, *objects),
            sentence="The API server's flag and the ServiceCIDR object made from it have come apart",
        )
    reference = servers or objects or controllers
    if reference is not controllers and _conflict(reference, controllers):
        yield _Dispute(
            facts=(*reference, *controllers),
            sentence="The controller manager was told another Service range, so node ranges may be cut out of the real one",
        )
    kubeadm = _of(stated, "kubeadm")
    if _conflict(reference, kubeadm):
        yield _Dispute(
            facts=(*reference, *kubeadm),
            sentence="kubeadm's record has another Service range, which the next upgrade will write into the manifests",
        )


def _pod_disputes(view: View) -> Iterator[_Dispute]:
    """Pod ranges matter only where the CNI follows them."""
    if recognise_cni(view.cluster).addresses in (AddressSource.OWN_POOL, AddressSource.NODE_NETWORK):
        return
    stated = view.facts.of(FactKind.POD_RANGE)
    controllers = (*_of(stated, CONTROLLERS), *(fact for fact in stated if fact.component.endswith(" server")))
    if _differ(controllers):
        yield _Dispute(facts=controllers, sentence="Control planes have different pod ranges")
    kubeadm = _of(stated, "kubeadm")
    if _conflict(controllers, kubeadm):
        yield _Dispute(
            facts=(*controllers, *kubeadm),
            sentence="kubeadm's record has another pod range than the controller manager",
        )
    reference = controllers or kubeadm
    flannel = tuple(fact for fact in view.facts.of(FactKind.CNI_RANGE) if fact.component == "flannel")
    if _uncovered(reference, flannel):
        yield _Dispute(
            facts=(*reference, *flannel),
            sentence="flannel's network does not hold the ranges that nodes get, so it has no routes to them",
        )
    proxy = _proxy_facts(view, stated)
    if _uncovered(reference, proxy):
        yield _Dispute(
            facts=(*reference, *proxy),
            sentence="kube-proxy's cluster CIDR does not hold the whole pod range, so the other pods' traffic is masqueraded",
        )


def _node_port_disputes(view: View) -> Iterator[_Dispute]:
    stated = view.facts.of(FactKind.NODE_PORT_RANGE)
    servers = _of_servers(stated)
    if len({fact.value for fact in servers}) > 1:
        yield _Dispute(facts=servers, sentence="API servers have different node port ranges")
    kubeadm = _of(stated, "kubeadm")
    if servers and kubeadm and not {fact.value for fact in kubeadm} <= {fact.value for fact in servers}:
        yield _Dispute(facts=(*servers, *kubeadm), sentence="kubeadm's record has another node port range")


def _proxy_facts(view: View, stated: Iterable[Fact]) -> tuple[Fact, ...]:
    """The cluster-wide cluster CIDR, unless kube-proxy does not use it or it is wrong altogether (KD107)."""
    config = view.cluster_config
    if config is None or config.detect_local_mode not in (None, DetectLocalMode.CLUSTER_CIDR):
        return ()
    if not config.cluster_cidrs or pods_outside_cluster_cidr(view):
        return ()
    wanted = set(config.cluster_cidrs)
    agreeing = [fact for fact in stated if fact.component == "kube-proxy" and set(fact.networks) == wanted]
    # The ConfigMap speaks for all; a node's own reading only where there is none.
    agreeing.sort(key=lambda fact: (fact.node is not None, fact.node or ""))
    return tuple(agreeing[:1])


def _of(facts: Iterable[Fact], component: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact.component == component)


def _of_servers(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact.component == APISERVER or fact.component.endswith(" server"))


def _networks(facts: Iterable[Fact], family: Family | None = None) -> set[Network]:
    return {network for fact in facts for network in fact.networks if family in (None, family_of(network))}


def _differ(facts: tuple[Fact, ...]) -> bool:
    """True if not all statements name the same networks, in whatever order."""
    return len({tuple(sorted(fact.networks, key=network_order)) for fact in facts}) > 1


def _conflict(reference: tuple[Fact, ...], others: tuple[Fact, ...]) -> bool:
    """True if in a family that both sides speak of somebody names a network that the reference does not."""
    for family in FAMILIES:
        known, named = _networks(reference, family), _networks(others, family)
        if known and named and not named <= known:
            return True
    return False


def _uncovered(inner: tuple[Fact, ...], outer: tuple[Fact, ...]) -> bool:
    """True if in a family that both sides speak of a network of `inner` lies in none of `outer`."""
    for family in FAMILIES:
        wide = _networks(outer, family)
        if wide and any(not any(contains(item, network) for item in wide) for network in _networks(inner, family)):
            return True
    return False


CHECK = Check(
    code="KD108",
    slug="settings-disagree",
    title="Components disagree about a range",
    severity=Severity.WARNING,
    explanation="""\
The Service range, the pod range and the node port range are told to several components, each in its own place, and nothing
compares them: API servers, controller managers, kube-proxy, the CNI, and kubeadm's record.

**What it does to traffic.** API servers with different Service ranges each take the other's addresses for errors: allocations
fail now and then, and `default/kubernetes` flips between two addresses (an *error*). A controller manager that does not
know the Service range gives parts of it to nodes. flannel makes no route to a podCIDR outside its network. kube-proxy
masquerades pods that it does not know as such. kubeadm writes its record into the manifests at the next upgrade.

**How it is found.** The command lines of all replicas (processes and static pods), ServiceCIDR objects, kubeadm's ConfigMap,
flannel's and kube-proxy's are compared family by family. Order and spelling do not matter; a flag that is absent counts with
its default where the component has one.

**What is left alone.** Additional ServiceCIDR objects; a cluster CIDR or flannel network that is larger than the pod range;
a component that says nothing about a family; pod ranges where the CNI has its own pools; a cluster CIDR without any pod
(KD107); kube-proxy on a single node that runs with another one (KD215).
""",
    hint="Decide which value is right, and set it in every place that the evidence names.",
    run=run,
)
