"""What does kube-proxy's work on a node in its place, told by what the cluster and the node show of it.

A product is believed where its configuration says so and nothing on the node speaks against it: all of them are also used
as a plain network plugin beside kube-proxy, and then the rules are kube-proxy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from msgspec import Struct

from kdiag.model.cluster import ClusterState, ConfigMap, Container, Pod
from kdiag.model.proxy import ProxyMode, parse_version
from kdiag.parse.flags import parse_command
from kdiag.parse.proxy_config import is_proxy_pod
from kdiag.planes import PLANES
from kdiag.planes.interface import NodeEvidence

_YES = frozenset({"true", "strict"})
"""`kube-proxy-replacement` of Cilium: `true` since 1.14, `strict` up to 1.15."""
_IN_PART = frozenset({None, "", "probe", "partial"})
"""What leaves it open: up to 1.13 `probe` and `partial` do as much as the kernel or single options allow."""


class Replacement(Struct, frozen=True, kw_only=True):
    """A product that does kube-proxy's work on a node. `evidence` tells what shows it, `command` how to look at its Services."""

    product: str
    evidence: str
    command: str

    @property
    def reason(self) -> str:
        """Why kube-proxy's rules are not looked for, in one sentence."""
        return (
            f"{self.product} does kube-proxy's work here ({self.evidence}); look at its Services with: {self.command}"
        )


def replacement_of(cluster: ClusterState, evidence: NodeEvidence) -> Replacement | None:
    """The product that does kube-proxy's work on this node; None if none is seen there."""
    place = _Place(cluster=cluster, evidence=evidence)
    for find in (_cilium, _calico, _ovn_kubernetes, _antrea, _kube_router):
        found = find(place)
        if found is not None:
            return found
    return None


class _Place(Struct, frozen=True, kw_only=True, dict=True):
    """One node, and the questions that are asked about it."""

    cluster: ClusterState
    evidence: NodeEvidence

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """The pods bound to the node that have not ended."""
        listed = self.cluster.pods_by_node.get(self.evidence.node_name, ())
        return tuple(sorted((pod for pod in listed if not pod.terminated), key=lambda pod: pod.key))

    def agent(self, *labels: tuple[str, str]) -> Pod | None:
        """The pod on the node that has one of these labels."""
        return next((pod for pod in self.pods if any(pod.meta.labels.get(key) == value for key, value in labels)), None)

    def config_map(self, beginning: str) -> ConfigMap | None:
        """The ConfigMap whose name is this, or begins with it and goes on with a digest (kustomize)."""
        named = [
            item
            for item in self.cluster.config_maps
            if item.meta.key.name == beginning or item.meta.key.name.startswith(f"{beginning}-")
        ]
        return min(named, key=lambda item: (item.meta.key.name != beginning, item.meta.key), default=None)

    def interface(self, *names: str) -> bool | None:
        """True if the node has one of these interfaces, None if its interfaces were not recorded."""
        if self.evidence.host.interfaces is None:
            return None
        return any(item.name in names for item in self.evidence.host.interfaces)

    @cached_property
    def rules(self) -> bool:
        """True if rules of kube-proxy are on the node, in whatever mode."""
        # kube-router has virtual servers too.
        others = self.interface("kube-dummy-if") and not self.interface("kube-ipvs0")
        return any(plane.signs(self.evidence) for plane in PLANES if not (others and plane.mode is ProxyMode.IPVS))

    @cached_property
    def shows_proxy(self) -> bool:
        """True if there is any trace of kube-proxy, on this node or in the API."""
        answer = (self.evidence.host.proxy_mode_answer or "").strip().lower()
        commands = (parse_command(process.argv) for process in self.evidence.host.processes or ())
        return (
            self.rules
            or answer in frozenset(str(mode) for mode in ProxyMode)
            or any(command is not None and command.component == "kube-proxy" for command in commands)
            or any(is_proxy_pod(pod) for pod in self.cluster.pods)
            or any("kube-proxy" in item.meta.key.name for item in self.cluster.daemon_sets)
        )

    def absent(self, agent: Pod | None, interface: bool | None) -> bool:
        """True if kube-proxy's rules are here, and a product of which there ought to be a pod and an interface is not."""
        if not self.rules or (agent is not None and agent.ready):
            return False
        return interface is False or (agent is None and "pods" in self.cluster.seen)


# -- products ------------------------------------------------------------------------------------------------------------


def _cilium(place: _Place) -> Replacement | None:
    agent = place.agent(("k8s-app", "cilium"))
    interface = place.interface("cilium_host", "cilium_net")
    config = place.config_map("cilium-config")
    stated = (config.data.get("kube-proxy-replacement") if config else None) or None
    source = f"ConfigMap {config.meta.key}" if config else ""
    container = _container(agent, "cilium-agent")
    flag = _flag(container.command if container else (), "kube-proxy-replacement")
    if flag is not None and agent is not None:
        stated, source = flag, f"pod {agent.key}"
    value = stated.strip().lower() if stated else None
    signs = _listed(
        f"{source} says kube-proxy-replacement: {stated}" if stated else "",
        f"pod {agent.key} runs on the node" if agent else "",
        "the node has cilium_host" if interface else "",
    )
    if value in _YES:
        if place.absent(agent, interface):
            return None
    elif value in _IN_PART and (agent is not None or interface) and not place.shows_proxy:
        signs += ", and there is no trace of kube-proxy"
    else:
        return None
    tag = container.image.partition("@")[0].rpartition(":")[2] if container else ""
    tool = "cilium" if (parse_version(tag) or (1, 15)) < (1, 15) else "cilium-dbg"
    return Replacement(
        product="Cilium", evidence=signs, command=_in_pod(agent, ("cilium-agent",), f"{tool} service list", "cilium")
    )


def _calico(place: _Place) -> Replacement | None:
    """Calico in eBPF mode. Felix takes its two devices away when the mode is left, and when the kernel cannot do it.

    (felix/dataplane/linux/int_dataplane.go, RemoveBPFSpecialDevices.)
    """
    agent = place.agent(("k8s-app", "calico-node"))
    interface = place.interface("bpfin.cali", "bpfout.cali")
    container = _container(agent, "calico-node")
    stated = (container.environment.get("FELIX_BPFENABLED", "") if container else "").lower()
    if stated not in ("true", "1", "yes", "y", "t") and not interface:
        return None
    if place.absent(agent, interface) or (place.rules and interface is False):
        return None
    signs = _listed(
        f"pod {agent.key} has FELIX_BPFENABLED={stated}" if agent and stated else "",
        "the node has bpfin.cali" if interface else "",
    )
    command = _in_pod(agent, ("calico-node",), "calico-node -bpf nat dump", "calico-node")
    return Replacement(product="Calico eBPF", evidence=signs, command=command)


def _ovn_kubernetes(place: _Place) -> Replacement | None:
    """OVN-Kubernetes, which does not work beside kube-proxy at all."""
    agent = place.agent(("app", "ovnkube-node"), ("app", "ovnkube"), ("name", "ovnkube-node"))
    interface = place.interface("ovn-k8s-mp0")
    chains = sorted(
        {
            name
            for ruleset in place.evidence.rulesets
            for table in ruleset.tables.values()
            for name in table.chains
            if name.startswith("OVN-KUBE-")
        }
    )
    if agent is None and not interface and (not chains or place.rules):
        return None
    if place.absent(agent, interface):
        return None
    signs = _listed(
        f"pod {agent.key} runs on the node" if agent else "",
        "the node has ovn-k8s-mp0" if interface else "",
        f"its rules have chain {chains[0]}" if chains else "",
    )
    command = _in_pod(agent, ("nb-ovsdb", "nbdb"), "ovn-nbctl lb-list", "ovnkube-node")
    return Replacement(product="OVN-Kubernetes", evidence=signs, command=command)


def _antrea(place: _Place) -> Replacement | None:
    """Antrea with `antreaProxy.proxyAll` (1.4 and later)."""
    agent = place.agent(("component", "antrea-agent"))
    config = place.config_map("antrea-config")
    stated = _antrea_proxies_all(config)
    chains = [ruleset.chain("nat", "ANTREA-PREROUTING") for ruleset in place.evidence.rulesets]
    matches = [option for chain in chains if chain for rule in chain.rules for option in rule.matches]
    takes_node_ports = any("ANTREA-NODEPORT-IP" in option.values for option in matches)
    if stated is False or not (stated or takes_node_ports) or place.absent(agent, takes_node_ports or None):
        return None
    signs = _listed(
        f"ConfigMap {config.meta.key} says proxyAll: true" if config and stated else "",
        f"pod {agent.key} runs on the node" if agent else "",
        "chain ANTREA-PREROUTING takes NodePorts" if takes_node_ports else "",
    )
    command = _in_pod(
        agent, ("antrea-agent",), "antctl get ovsflows --service NAME --namespace NAMESPACE", "antrea-agent"
    )
    return Replacement(product="Antrea", evidence=signs, command=command)


def _antrea_proxies_all(config: ConfigMap | None) -> bool | None:
    """What antrea-agent.conf says of proxyAll, False if AntreaProxy is off; None if it cannot be told."""
    if config is None:
        return None
    import yaml  # only Antrea's configuration needs it

    try:
        settings = yaml.safe_load(config.data.get("antrea-agent.conf", ""))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(settings, Mapping):
        return False if settings is None and "antrea-agent.conf" in config.data else None
    proxy = _mapping(settings.get("antreaProxy"))
    if proxy.get("enable") is False or _mapping(settings.get("featureGates")).get("AntreaProxy") is False:
        return False
    return proxy.get("proxyAll", settings.get("proxyAll")) is True


def _kube_router(place: _Place) -> Replacement | None:
    """kube-router with its service proxy, which is on unless `--run-service-proxy=false` (all releases).

    It holds its addresses on kube-dummy-if. Its KUBE-ROUTER-* chains are those of network policies and tell nothing:
    k3s has that part of it built in.
    """
    agent = place.agent(("k8s-app", "kube-router"), ("app", "kube-router"))
    interface = place.interface("kube-dummy-if")
    container = _container(agent, "kube-router")
    processes = [
        item
        for item in place.evidence.host.processes or ()
        if item.argv and PurePosixPath(item.argv[0]).name == "kube-router"
    ]
    if agent is None and not processes:
        # The interface stays behind when kube-router goes.
        if not interface or place.shows_proxy:
            return None
        stated = None
    else:
        words = container.command if container else processes[0].argv if processes else ()
        stated = _flag(words, "run-service-proxy")
        if stated is not None and stated.lower() in ("false", "0", "f"):
            return None
        if stated is None and place.rules and interface is False:
            return None
    signs = _listed(
        f"pod {agent.key} runs on the node" if agent else "kube-router runs on the node" if processes else "",
        ("with --run-service-proxy" if stated is not None else "without --run-service-proxy=false")
        if agent or processes
        else "",
        "the node has kube-dummy-if" if interface else "",
    )
    return Replacement(product="kube-router", evidence=signs, command="ipvsadm -Ln, run on the node")


# -- words ---------------------------------------------------------------------------------------------------------------


def _container(pod: Pod | None, container_name: str) -> Container | None:
    """The pod's container of this name, else its only one."""
    containers: Sequence[Container] = pod.containers if pod else ()
    named = next((item for item in containers if item.name == container_name), None)
    return named or (containers[0] if len(containers) == 1 else None)


def _flag(words: Iterable[str], flag: str) -> str | None:
    """The value of `--flag=value`, the last one counting; `true` for `--flag` alone, None if it is not given."""
    found = None
    for word in words:
        written, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and written == flag:
            found = value if equals else "true"
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(*signs: str) -> str:
    return ", ".join(sign for sign in signs if sign)


def _in_pod(agent: Pod | None, containers: Sequence[str], command: str, kind: str) -> str:
    if agent is None:
        return f"{command}, run in the node's {kind} pod"
    named = next((item.name for item in agent.containers if item.name in containers), None)
    option = f" -c {named}" if named else ""
    return f"kubectl -n {agent.key.namespace} exec {agent.key.name}{option} -- {command}"
