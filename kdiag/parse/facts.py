"""Settings as the components state them: ranges of Services, pods and node ports, cluster DNS, CNI pools.

Every statement is kept with its place, also one that repeats another: whether they agree is for checks to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kdiag.model.addresses import Family, Network, family_of, parse_network
from kdiag.model.cluster import ClusterState, Pod
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.host import HostFacts
from kdiag.model.proxy import ProxyConfig
from kdiag.model.snapshot import Recording
from kdiag.parse.cluster_documents import kubeadm_facts, kubelet_facts
from kdiag.parse.cni import cni_facts
from kdiag.parse.fact_values import make_fact
from kdiag.parse.flags import ComponentCommand, parse_command
from kdiag.parse.proxy_config import node_arguments

DEFAULT = "default"
"""`Fact.flag` of a value that no flag states: the component was seen, and this is what it then takes."""

_APISERVER = "kube-apiserver"
_CONTROLLERS = "kube-controller-manager"
_CUT_LENGTHS = frozenset({80, 132, 4095, 4096})
"""Lengths at which `ps` or the kernel (before 4.2) cut a command line; flags behind the cut are not seen."""

_FLAGS: Mapping[str, tuple[tuple[FactKind, tuple[str, ...], str | None], ...]] = {
    _APISERVER: (
        (FactKind.SERVICE_RANGE, ("service-cluster-ip-range",), "10.0.0.0/24"),
        (FactKind.NODE_PORT_RANGE, ("service-node-port-range",), "30000-32767"),
        (FactKind.ADVERTISE_ADDRESS, ("advertise-address",), None),
    ),
    _CONTROLLERS: (
        (FactKind.SERVICE_RANGE, ("service-cluster-ip-range",), None),
        (FactKind.POD_RANGE, ("cluster-cidr",), None),
    ),
    "kubelet": ((FactKind.CLUSTER_DNS, ("cluster-dns",), None),),
}
"""Per component: what its flags state, and the default where there is one (kube-apiserver and kube-controller-manager
`options.go`, the same from 1.16 to 1.36)."""

_ALL_IN_ONE_FLAGS = (
    (FactKind.SERVICE_RANGE, ("service-cidr",), "10.43.0.0/16"),
    (FactKind.POD_RANGE, ("cluster-cidr",), "10.42.0.0/16"),
    (FactKind.NODE_PORT_RANGE, ("service-node-port-range",), "30000-32767"),
    (FactKind.CLUSTER_DNS, ("cluster-dns",), None),
    (FactKind.ADVERTISE_ADDRESS, ("advertise-address",), None),
)
"""Flags of `k3s server` and `rke2 server`, which hold the components above."""


def collect_facts(
    cluster: ClusterState,
    hosts: Mapping[str, HostFacts],
    configs: Mapping[str, tuple[ProxyConfig, ...]],
    recordings: Mapping[str, Recording] | None = None,
) -> Facts:
    """All statements, in a stable order.

    `hosts` and `configs` are by node name. `recordings` are the API lists as recorded: they are read for what
    ClusterState has no place for (Calico's `ippools`, the environment of CNI DaemonSets). A component that is seen both
    as a process and as the pod that holds it states a value once; the process, which has a line, is kept.
    """
    facts = [
        *_process_facts(hosts, cluster),
        *_pod_facts(cluster),
        *_annotation_facts(cluster),
        *_object_facts(cluster),
        *kubeadm_facts(cluster),
        *kubelet_facts(cluster),
        *_proxy_facts(configs),
        *cni_facts(cluster, recordings or {}),
    ]
    kept: dict[tuple[object, ...], Fact] = {}
    for fact in facts:
        kept.setdefault((fact.kind, fact.component, fact.node, fact.value, fact.flag == DEFAULT), fact)
    stated = {_setting(fact) for fact in kept.values() if fact.flag != DEFAULT}
    wanted = [fact for fact in kept.values() if fact.flag != DEFAULT or _setting(fact) not in stated]
    return Facts(facts=tuple(sorted(wanted, key=_order)))


def _setting(fact: Fact) -> tuple[str, ...]:
    """What is set where: a default stands for a setting that nothing else states."""
    family = fact.value.partition(" ")[0] if fact.kind is FactKind.NODE_CIDR_MASK else ""
    return (fact.kind, fact.component, fact.node or "", family)


def _order(fact: Fact) -> tuple[str, str, str, str, str, int]:
    return (fact.kind, fact.component, fact.node or "", fact.value, fact.source, fact.line)


def _process_facts(hosts: Mapping[str, HostFacts], cluster: ClusterState) -> Iterator[Fact]:
    for node in sorted(hosts):
        for process in hosts[node].processes or ():
            command = parse_command(process.argv)
            if command is not None:
                cut = len(" ".join(process.argv)) in _CUT_LENGTHS
                defaults = not cut and (not command.all_in_one or _default_fits(cluster))
                yield from _command_facts(
                    command, source=process.source, line=process.line, node=node, defaults=defaults
                )


def _pod_facts(cluster: ClusterState) -> Iterator[Fact]:
    """Facts of static pods, which the API shows as mirror pods with the whole command."""
    source = cluster.sources.get("pods", "pods")
    for pod in sorted(cluster.pods, key=lambda item: item.key):
        if pod.terminated or pod.meta.key.namespace != "kube-system":
            continue
        for command in _commands(pod):
            yield from _command_facts(command, source=source, node=pod.node_name, defaults=True)


def _commands(pod: Pod) -> Iterator[ComponentCommand]:
    for container in pod.containers:
        command = parse_command(container.command)
        if command is not None:
            yield command


def _annotation_facts(cluster: ClusterState) -> Iterator[Fact]:
    for node in sorted(cluster.nodes, key=lambda item: item.name):
        for command, source in node_arguments(node):
            yield from _command_facts(command, source=source, node=node.name, defaults=True)


def _command_facts(
    command: ComponentCommand, *, source: str, line: int = 0, node: str | None = None, defaults: bool
) -> Iterator[Fact]:
    """What one command line states. Defaults are those of a control plane; an agent has none.

    What k3s and RKE2 hand to a component of theirs (`--kube-apiserver-arg=…`) overrides their own flag.
    """
    rows = _FLAGS.get(command.component, ())
    settled: set[FactKind] = set()
    if command.component.endswith(" server"):
        rows = _ALL_IN_ONE_FLAGS
        for component in (_APISERVER, _CONTROLLERS, "kubelet"):
            for kind, names, _ in _FLAGS[component]:
                value = command.embedded(component).flag(*names)
                flag = f"--{component}-arg={names[0]}"
                fact = make_fact(kind, command.component, value or "", flag=flag, source=source, line=line, node=node)
                if fact is not None and kind not in settled:
                    settled.add(kind)
                    yield fact
    for kind, names, default in rows:
        value = command.flag(*names)
        flag = f"--{names[0]}" if value is not None else DEFAULT
        text = value if value is not None else default if defaults else None
        if text is not None and kind not in settled:
            fact = make_fact(kind, command.component, text, flag=flag, source=source, line=line, node=node)
            if fact is not None:
                yield fact
    if command.component == _CONTROLLERS and _allocates(command):
        yield from _mask_facts(command, source=source, line=line, node=node)


def _allocates(command: ComponentCommand) -> bool:
    return (command.flag("allocate-node-cidrs") or "false").lower() in ("true", "1", "t")


def _mask_facts(command: ComponentCommand, *, source: str, line: int, node: str | None) -> Iterator[Fact]:
    """The size of what each node gets: 24 and 64 bits unless a flag says otherwise."""
    pod_range = command.flag("cluster-cidr") or ""
    networks = [network for network in map(parse_network, pod_range.split(",")) if network is not None]
    for family, default in ((Family.IPV4, "24"), (Family.IPV6, "64")):
        if not any(family_of(network) is family for network in networks):
            continue
        name = f"node-cidr-mask-size-{family.lower()}"
        names = (name, "node-cidr-mask-size") if len(networks) == 1 else (name,)
        value = command.flag(*names)
        flag = next((f"--{item}" for item in names if command.flag(item) is not None), DEFAULT)
        text = (value or default).strip()
        if text.isascii() and text.isdigit() and len(text) < 20:
            yield Fact(
                kind=FactKind.NODE_CIDR_MASK,
                component=command.component,
                value=f"{family} /{int(text)}",
                node=node,
                flag=flag,
                source=source,
                line=line,
            )


def _default_fits(cluster: ClusterState) -> bool:
    """True if what the cluster shows agrees with the defaults of k3s and RKE2.

    Their settings may stand in a configuration file that no process list shows, so that an absent flag proves nothing.
    """
    services, pods = (parse_network(text) for text in ("10.43.0.0/16", "10.42.0.0/16"))
    addresses = [address for service in cluster.services for address in service.cluster_ips]
    ranges = [network for node in cluster.nodes for network in node.pod_cidrs]
    return (
        services is not None
        and pods is not None
        and all(address in services for address in addresses)
        and all(
            network.version == 4 and int(network.network_address) >> 16 == int(pods.network_address) >> 16
            for network in ranges
        )
    )


def _object_facts(cluster: ClusterState) -> Iterator[Fact]:
    for cidr in sorted(cluster.service_cidrs, key=lambda item: item.meta.key):
        name = cidr.meta.key.name
        yield from _network_fact(
            FactKind.SERVICE_RANGE,
            f"ServiceCIDR {name}",
            cidr.cidrs,
            flag="spec.cidrs",
            source=cluster.sources.get("servicecidrs", f"ServiceCIDR {name}"),
        )
    for node in sorted(cluster.nodes, key=lambda item: item.name):
        yield from _network_fact(
            FactKind.NODE_POD_RANGE,
            f"Node {node.name}",
            node.pod_cidrs,
            node=node.name,
            flag="spec.podCIDRs",
            source=cluster.sources.get("nodes", f"Node {node.name}"),
        )


def _proxy_facts(configs: Mapping[str, tuple[ProxyConfig, ...]]) -> Iterator[Fact]:
    """The cluster CIDR and mode of every reading: those of one node, and those of the ConfigMap once."""
    told: set[str] = set()
    for node in sorted(configs):
        for config in configs[node]:
            shared = config.source.startswith("ConfigMap ")
            if shared and config.source in told:
                continue
            told.add(config.source)
            owner = None if shared else node
            yield from _network_fact(
                FactKind.POD_RANGE,
                "kube-proxy",
                config.cluster_cidrs or (),
                node=owner,
                flag="clusterCIDR",
                source=config.source,
            )
            if config.mode_text:
                yield Fact(
                    kind=FactKind.PROXY_MODE,
                    component="kube-proxy",
                    value=config.mode_text,
                    node=owner,
                    flag="mode",
                    source=config.source,
                )


def _network_fact(
    kind: FactKind,
    component: str,
    networks: Iterable[Network],
    *,
    flag: str,
    source: str,
    node: str | None = None,
) -> Iterator[Fact]:
    found = tuple(networks)
    if found:
        yield Fact(
            kind=kind,
            component=component,
            value=",".join(map(str, found)),
            networks=found,
            node=node,
            flag=flag,
            source=source,
        )
