"""What does kube-proxy's work in its place: seen where it does, and not where it is a network plugin alone."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model.cluster import ClusterState, ConfigMap, Container, Pod
from kdiag.model.host import HostFacts, Interface, InterfaceAddress, Process
from kdiag.parse.ipvsadm import parse_ipvsadm_save
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.replacements import Replacement, replacement_of
from tests.checks import builders as b
from tests.planes.builders import evidence, ruleset

PROXY = b.pod(
    "kube-system/kube-proxy-x", node="node02", containers=[b.container(name="kube-proxy", command=["kube-proxy"])]
)


def place(
    *interfaces: str, rules: bool = False, process: str = "", answer: str | None = None, servers: bool = False
) -> NodeEvidence:
    """node01, with these interfaces (none: they were not recorded) and perhaps kube-proxy's rules."""
    host = HostFacts(
        interfaces=tuple(Interface(name=item) for item in ("lo", *interfaces)) if interfaces else None,
        processes=(Process(pid=7, argv=tuple(process.split()), source="ps"),) if process else None,
        proxy_mode_answer=answer,
    )
    found = evidence(*([ruleset()] if rules else []), host=host)
    return structs.replace(found, ipvs=parse_ipvsadm_save("-A -t 10.96.0.1:443 -s rr\n", "ipvs") if servers else None)


def agent(
    label: str,
    container: str = "",
    *words: str,
    node: str = "node01",
    image: str = "example/agent:v1",
    env: str = "",
    ready: bool = True,
    phase: str = "Running",
) -> Pod:
    key, _, value = label.partition("=")
    item = structs.replace(
        b.container(name=container, image=image, command=words), environment={"FELIX_BPFENABLED": env} if env else {}
    )
    return b.pod(
        f"kube-system/{value}-x",
        node=node,
        labels={key: value},
        containers=[item] if container else [],
        ready=ready,
        phase=phase,
    )


def product(cluster: ClusterState, found: NodeEvidence) -> str | None:
    replacement = replacement_of(cluster, found)
    return replacement.product if replacement else None


def sure(cluster: ClusterState, found: NodeEvidence) -> Replacement:
    replacement = replacement_of(cluster, found)
    assert replacement is not None
    return replacement


# -- Cilium --------------------------------------------------------------------------------------------------------------


def cilium(value: str | None) -> ConfigMap:
    return b.config_map("kube-system/cilium-config", {} if value is None else {"kube-proxy-replacement": value})


AGENT = agent(
    "k8s-app=cilium", "cilium-agent", "cilium-agent", "--config-dir=/tmp/cilium/config-map", image="cilium:v1.16.1"
)


@pytest.mark.parametrize(
    ("items", "found", "expected"),
    [
        ((), place(), None),
        # Told by its configuration, with its agent or its device or neither where nothing contradicts.
        ((cilium("true"), AGENT), place("cilium_host"), "Cilium"),
        ((cilium("Strict"), AGENT), place(), "Cilium"),
        ((cilium("true"),), place(), "Cilium"),
        # Rules of kube-proxy beside it change nothing …
        ((cilium("true"), AGENT, PROXY), place("cilium_host", rules=True), "Cilium"),
        ((cilium("true"), AGENT), place("eth0", rules=True), "Cilium"),
        # … unless Cilium is not on this node, or does not work there.
        ((cilium("true"),), place(rules=True), None),
        ((cilium("true"),), place("cilium_host", rules=True), None),
        ((cilium("true"), agent("k8s-app=cilium", node="node02")), place(rules=True), None),
        ((cilium("true"), agent("k8s-app=cilium", phase="Failed")), place(rules=True), None),
        ((cilium("true"), agent("k8s-app=cilium", ready=False)), place("eth0", rules=True), None),
        ((cilium("true"), agent("k8s-app=cilium", ready=False)), place("cilium_net", rules=True), "Cilium"),
        # A plain network plugin, whose chains and devices are the same.
        ((cilium("false"), AGENT, PROXY), place("cilium_host", rules=True), None),
        ((cilium("disabled"), AGENT, PROXY), place("cilium_host", rules=True), None),
        ((cilium("false"), AGENT), place("cilium_host"), None),
        # In part: it does the work alone if kube-proxy is nowhere.
        ((cilium("partial"), AGENT), place("cilium_host"), "Cilium"),
        ((cilium("probe"),), place("cilium_host"), "Cilium"),
        ((cilium("probe"),), place("eth0"), None),
        ((cilium(None), AGENT), place(), "Cilium"),
        ((AGENT,), place(), "Cilium"),
        ((cilium("partial"), AGENT), place(rules=True), None),
        ((cilium("partial"), AGENT, PROXY), place(), None),
        ((cilium("partial"), AGENT, b.daemon_set("kube-system/kube-proxy")), place(), None),
        ((cilium("partial"), AGENT), place(process="/usr/bin/kube-proxy --config=/c"), None),
        ((cilium("partial"), AGENT), place(answer="iptables"), None),
        ((cilium("partial"), AGENT), place(process="/usr/bin/kubelet", answer="404 page not found"), "Cilium"),
        # The agent's own flag counts before the ConfigMap.
        ((cilium("false"), agent("k8s-app=cilium", "cilium-agent", "cilium-agent", "--kube-proxy-replacement=true")), place(), "Cilium"),
        ((cilium("true"), agent("k8s-app=cilium", "cilium-agent", "cilium-agent", "--kube-proxy-replacement=false")), place(), None),
    ],
)  # fmt: skip
def test_cilium(items: tuple[Pod | ConfigMap, ...], found: NodeEvidence, expected: str | None) -> None:
    assert product(b.cluster(*items), found) == expected


def test_pods_that_were_not_listed_contradict_nothing() -> None:
    assert product(b.cluster(cilium("true"), seen=["configmaps"]), place(rules=True)) == "Cilium"
    assert product(b.cluster(cilium("true"), seen=["configmaps"]), place("eth0", rules=True)) is None


def test_the_reason_names_evidence_and_command() -> None:
    assert sure(b.cluster(cilium("true"), AGENT), place("cilium_host")).reason == (
        "Cilium does kube-proxy's work here (ConfigMap kube-system/cilium-config says kube-proxy-replacement: true, pod "
        "kube-system/cilium-x runs on the node, the node has cilium_host); look at its Services with: "
        "kubectl -n kube-system exec cilium-x -c cilium-agent -- cilium-dbg service list"
    )
    partial = sure(b.cluster(cilium("partial"), AGENT), place())
    assert partial.evidence.endswith("runs on the node, and there is no trace of kube-proxy")


@pytest.mark.parametrize(
    ("image", "tool"),
    [
        ("quay.io/cilium/cilium:v1.14.5@sha256:abc", "cilium"),
        ("quay.io:443/cilium/cilium:v1.15.0", "cilium-dbg"),
        ("quay.io/cilium/cilium@sha256:abc", "cilium-dbg"),
    ],
)
def test_the_tool_of_the_release(image: str, tool: str) -> None:
    found = sure(b.cluster(cilium("true"), agent("k8s-app=cilium", "cilium-agent", image=image)), place())
    assert found.command.endswith(f"-c cilium-agent -- {tool} service list")


# -- Calico --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "found", "expected"),
    [
        ((agent("k8s-app=calico-node", "calico-node", env="true"),), place(), "Calico eBPF"),
        ((agent("k8s-app=calico-node", "calico-node"),), place("cali123", "bpfin.cali", "bpfout.cali"), "Calico eBPF"),
        ((agent("k8s-app=calico-node", "calico-node"),), place("bpfin.cali", rules=True), "Calico eBPF"),
        ((), place("bpfin.cali"), "Calico eBPF"),
        ((agent("k8s-app=calico-node", "calico-node"),), place("cali123", "tunl0", rules=True), None),
        ((agent("k8s-app=calico-node", "calico-node", env="false"),), place("cali123", rules=True), None),
        ((agent("k8s-app=calico-node", "calico-node"), PROXY), place(), None),
        # Asked for and not got: the kernel cannot do it, and Felix falls back.
        ((agent("k8s-app=calico-node", "calico-node", env="true"),), place("cali123", rules=True), None),
        # Devices of a Calico that is gone.
        ((PROXY,), place("bpfin.cali", rules=True), None),
    ],
)
def test_calico(items: tuple[Pod, ...], found: NodeEvidence, expected: str | None) -> None:
    assert product(b.cluster(*items), found) == expected


def test_calicos_own_command() -> None:
    found = sure(b.cluster(agent("k8s-app=calico-node", "calico-node", env="true")), place("bpfin.cali"))
    assert found.evidence == "pod kube-system/calico-node-x has FELIX_BPFENABLED=true, the node has bpfin.cali"
    assert found.command == "kubectl -n kube-system exec calico-node-x -c calico-node -- calico-node -bpf nat dump"
    assert (
        sure(b.cluster(), place("bpfin.cali")).command == "calico-node -bpf nat dump, run in the node's calico-node pod"
    )


# -- OVN-Kubernetes ------------------------------------------------------------------------------------------------------

OVN_RULES = ruleset(
    "*nat\n:PREROUTING ACCEPT [0:0]\n:OVN-KUBE-NODEPORT - [0:0]\n-A PREROUTING -j OVN-KUBE-NODEPORT\nCOMMIT\n"
)


@pytest.mark.parametrize(
    ("items", "found", "expected"),
    [
        ((agent("app=ovnkube-node", "ovnkube-controller"),), place(), "OVN-Kubernetes"),
        ((), place("ovn-k8s-mp0"), "OVN-Kubernetes"),
        ((), evidence(OVN_RULES), "OVN-Kubernetes"),
        ((agent("app=ovnkube-node"),), place("ovn-k8s-mp0", rules=True), "OVN-Kubernetes"),
        ((agent("app=ovnkube-node", node="node02"),), place(), None),
        ((), evidence(OVN_RULES, ruleset()), None),
        ((PROXY,), place("ovn-k8s-mp0", rules=True), None),
        # Kube-OVN needs kube-proxy.
        ((agent("app=kube-ovn-cni"), agent("app=ovs"), PROXY), place("ovn0", rules=True), None),
    ],
)
def test_ovn_kubernetes(items: tuple[Pod, ...], found: NodeEvidence, expected: str | None) -> None:
    assert product(b.cluster(*items), found) == expected


def test_ovn_kubernetes_own_command() -> None:
    found = sure(b.cluster(agent("app=ovnkube-node", "nbdb")), evidence(OVN_RULES))
    assert found.evidence == "pod kube-system/ovnkube-node-x runs on the node, its rules have chain OVN-KUBE-NODEPORT"
    assert found.command == "kubectl -n kube-system exec ovnkube-node-x -c nbdb -- ovn-nbctl lb-list"


# -- Antrea --------------------------------------------------------------------------------------------------------------


def antrea(conf: str, key: str = "kube-system/antrea-config") -> ConfigMap:
    return b.config_map(key, {"antrea-agent.conf": conf})


PROXY_ALL = "featureGates:\n# AntreaProxy: true\nantreaProxy:\n  proxyAll: true\n"
TAKES_NODE_PORTS = ruleset(
    "*nat\n:PREROUTING ACCEPT [0:0]\n:ANTREA-PREROUTING - [0:0]\n-A PREROUTING -j ANTREA-PREROUTING\n"
    "-A ANTREA-PREROUTING -m set --match-set ANTREA-NODEPORT-IP dst,dst -j DNAT --to-destination 169.254.0.252\nCOMMIT\n"
)


@pytest.mark.parametrize(
    ("items", "found", "expected"),
    [
        ((antrea(PROXY_ALL), agent("component=antrea-agent")), place("antrea-gw0", rules=True), "Antrea"),
        ((antrea(PROXY_ALL),), place(), "Antrea"),
        ((antrea(PROXY_ALL, "kube-system/antrea-config-f59kb6mmbk"),), place(), "Antrea"),
        ((antrea("proxyAll: true\n"),), place(), "Antrea"),
        ((agent("component=antrea-agent"),), evidence(TAKES_NODE_PORTS), "Antrea"),
        ((antrea("antreaProxy: [\n"),), evidence(TAKES_NODE_PORTS), "Antrea"),
        ((antrea("- a\n"),), evidence(TAKES_NODE_PORTS), "Antrea"),
        ((antrea(PROXY_ALL),), place(rules=True), None),
        # The default, and how it is written in the delivered manifest.
        (
            (antrea("antreaProxy:\n  # proxyAll: true\n  proxyAll: false\n"), agent("component=antrea-agent")),
            place(),
            None,
        ),
        ((antrea("# antreaProxy:\n#   proxyAll: true\n"), agent("component=antrea-agent")), place(), None),
        ((antrea("antreaProxy:\n"),), place(), None),
        ((antrea("antreaProxy:\n  enable: false\n  proxyAll: true\n"),), place(), None),
        ((antrea("featureGates:\n  AntreaProxy: false\nantreaProxy:\n  proxyAll: true\n"),), place(), None),
        ((antrea("antreaProxy: [\n"), agent("component=antrea-agent")), place(), None),
        ((b.config_map("kube-system/antrea-config", {}),), place(), None),
        ((agent("component=antrea-agent"),), place("antrea-gw0"), None),
    ],
)
def test_antrea(items: tuple[Pod | ConfigMap, ...], found: NodeEvidence, expected: str | None) -> None:
    assert product(b.cluster(*items), found) == expected


def test_antreas_own_command() -> None:
    state = b.cluster(antrea(PROXY_ALL), agent("component=antrea-agent", "antrea-agent"))
    found = sure(state, evidence(TAKES_NODE_PORTS))
    assert found.evidence == (
        "ConfigMap kube-system/antrea-config says proxyAll: true, pod kube-system/antrea-agent-x runs on the node, "
        "chain ANTREA-PREROUTING takes NodePorts"
    )
    assert found.command.startswith("kubectl -n kube-system exec antrea-agent-x -c antrea-agent -- antctl get ovsflows")


# -- kube-router ---------------------------------------------------------------------------------------------------------


def router(*words: str) -> Pod:
    return agent("k8s-app=kube-router", "kube-router", *words)


K3S = ruleset(
    "*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-ROUTER-FORWARD - [0:0]\n-A FORWARD -j KUBE-ROUTER-FORWARD\nCOMMIT\n"
)
ON_IPVS0 = HostFacts(
    interfaces=(Interface(name="kube-ipvs0"), Interface(name="kube-dummy-if")),
    addresses=(InterfaceAddress(interface="kube-ipvs0", address=b.address("10.96.0.1"), prefix_length=32),),
)


@pytest.mark.parametrize(
    ("items", "found", "expected"),
    [
        ((router("--run-router=true", "--run-firewall=true", "--run-service-proxy=true"),), place(), "kube-router"),
        ((router("--run-service-proxy"),), place("kube-bridge", "kube-dummy-if"), "kube-router"),
        # On unless it is switched off.
        ((router("--run-router=true"),), place(), "kube-router"),
        ((router(),), place("kube-dummy-if", servers=True), "kube-router"),
        ((router("--run-service-proxy=false", "--run-router=true"),), place("kube-dummy-if"), None),
        ((router("--run-service-proxy=true", "--run-service-proxy=False"),), place(), None),
        ((router("--run-service-proxy=false"), PROXY), place("kube-bridge", rules=True), None),
        # Default flags, kube-proxy's rules, and no address of kube-router's: it did not get to work.
        ((router(),), place("kube-bridge", rules=True), None),
        ((router("--run-service-proxy=true"),), place("kube-bridge", rules=True), "kube-router"),
        # Without a pod.
        ((), place(process="/usr/local/bin/kube-router --run-service-proxy"), "kube-router"),
        ((), place(process="/usr/local/bin/kube-router --run-service-proxy=false"), None),
        ((), place("kube-dummy-if", servers=True), "kube-router"),
        ((PROXY,), place("kube-dummy-if"), None),
        ((), evidence(host=ON_IPVS0), None),
        ((), place("eth0", servers=True), None),
        # k3s has kube-router's network policies built in.
        ((), evidence(K3S), None),
        ((), evidence(K3S, ruleset()), None),
    ],
)
def test_kube_router(items: tuple[Pod, ...], found: NodeEvidence, expected: str | None) -> None:
    assert product(b.cluster(*items), found) == expected


def test_kube_routers_evidence() -> None:
    found = sure(b.cluster(router()), place("kube-dummy-if"))
    assert found.evidence == (
        "pod kube-system/kube-router-x runs on the node, without --run-service-proxy=false, the node has kube-dummy-if"
    )
    assert found.command == "ipvsadm -Ln, run on the node"
    assert sure(b.cluster(), place("kube-dummy-if")).evidence == "the node has kube-dummy-if"
    started = sure(b.cluster(), place(process="kube-router --run-service-proxy=true"))
    assert started.evidence == "kube-router runs on the node, with --run-service-proxy"


def test_a_pod_of_several_containers_says_nothing_by_the_wrong_one() -> None:
    sidecar = Container(name="metrics", command=("--run-service-proxy=false",))
    pod = structs.replace(router("--run-service-proxy=true"), containers=(sidecar, router("x").containers[0]))
    assert product(b.cluster(pod), place()) == "kube-router"
    nameless = structs.replace(pod, containers=(sidecar, sidecar))
    assert product(b.cluster(nameless), place()) == "kube-router"
