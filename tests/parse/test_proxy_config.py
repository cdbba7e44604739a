"""Which configuration is in force on a node, which the cluster means, and which release the proxy is."""

from __future__ import annotations

import json

from msgspec import structs

from kdiag.model.addresses import Network, parse_network
from kdiag.model.cluster import Node
from kdiag.model.host import HostFacts, Process, ProxyLog
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster
from kdiag.parse.host import parse_host
from kdiag.parse.proxy_config import (
    cluster_config_map,
    cluster_proxy_config,
    effective_config,
    is_proxy_pod,
    proxy_configs_of_node,
    proxy_pod,
    proxy_version,
)
from tests.checks.builders import cluster, config_map, container, daemon_set, node, pod
from tests.corpus_fixtures import fault


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(network for network in map(parse_network, texts) if network is not None)


def host(*commands: str, log_version: str | None = None) -> HostFacts:
    return HostFacts(
        processes=tuple(
            Process(pid=number, argv=tuple(command.split()), source="nodes/n/ps-ef.txt", line=number + 1)
            for number, command in enumerate(commands, start=1)
        ),
        log=ProxyLog(source="nodes/n/kube-proxy.log", version=log_version) if log_version else None,
    )


def recording(name: str, text: str) -> dict[str, Recording]:
    return {name: Recording(source=f"nodes/n/{name}", content=text.encode())}


def node_with(name: str, *, annotations: dict[str, str] | None = None, version: str = "v1.30.3") -> Node:
    plain = node(name, kubelet_version=version)
    return structs.replace(plain, meta=structs.replace(plain.meta, annotations=annotations or {}))


CONFIG_MAP = config_map("kube-system/kube-proxy", {"config.conf": "clusterCIDR: 10.244.0.0/16\nmode: ipvs\n"})
CONFIGZ = recording("configz", json.dumps({"kubeproxy.config.k8s.io": {"Mode": "iptables"}}))


def test_sources_of_a_node_stand_best_first() -> None:
    probes = {**CONFIGZ, **recording("kube-proxy-config", "mode: nftables\n")}
    configs, gaps = proxy_configs_of_node("n", probes, host("sh", "kube-proxy --config=/c"), cluster(CONFIG_MAP))
    assert [config.source for config in configs] == [
        "nodes/n/configz",
        "nodes/n/ps-ef.txt",
        "nodes/n/kube-proxy-config",
        "ConfigMap kube-system/kube-proxy",
    ]
    assert gaps == ()
    merged = effective_config(configs)
    assert merged is not None
    assert merged.source == "nodes/n/configz"
    assert merged.mode is ProxyMode.IPTABLES
    assert merged.cluster_cidrs == networks("10.244.0.0/16")


def test_a_proxy_run_by_flags_reads_no_file() -> None:
    configs, _ = proxy_configs_of_node(
        "n",
        recording("kube-proxy-config", "mode: ipvs\n"),
        host("kube-proxy --cluster-cidr=10.1.0.0/16"),
        cluster(CONFIG_MAP),
    )
    assert [config.source for config in configs] == ["nodes/n/ps-ef.txt"]


def test_malformed_sources_are_gaps() -> None:
    probes = {**recording("configz", "x"), **recording("kube-proxy-config", "[")}
    configs, gaps = proxy_configs_of_node("n", probes, HostFacts(), cluster())
    assert configs == ()
    assert [gap.subject for gap in gaps] == ["nodes/n/configz", "nodes/n/kube-proxy-config"]
    assert {gap.node for gap in gaps} == {"n"}


def test_the_command_of_the_pod_stands_in_for_the_process() -> None:
    proxy = pod(
        "kube-system/kube-proxy-x", node="n", containers=[container(command=["kube-proxy", "--proxy-mode=ipvs"])]
    )
    configs, _ = proxy_configs_of_node("n", {}, HostFacts(), cluster(proxy, node("n")))
    assert [(config.source, config.mode) for config in configs] == [("pod kube-system/kube-proxy-x", ProxyMode.IPVS)]


def test_k3s_by_annotation_with_the_cluster_cidr_of_the_server() -> None:
    agent = node_with("n", annotations={"k3s.io/node-args": '["agent", "--kube-proxy-arg", "proxy-mode=ipvs"]'})
    server = node_with("s", annotations={"k3s.io/node-args": '["server", "--cluster-cidr", "10.9.0.0/16"]'})
    configs, _ = proxy_configs_of_node("n", {}, HostFacts(), cluster(agent, server))
    (config,) = configs
    assert (config.mode, config.cluster_cidrs) == (ProxyMode.IPVS, networks("10.9.0.0/16"))
    (own,), _ = proxy_configs_of_node("s", {}, HostFacts(), cluster(agent, server))
    assert own.cluster_cidrs == networks("10.9.0.0/16")


def test_k3s_by_process_without_any_annotation() -> None:
    (config,), _ = proxy_configs_of_node("n", {}, host("/usr/local/bin/k3s agent"), cluster(node("n"), node("m")))
    assert config == ProxyConfig(source="nodes/n/ps-ef.txt")


def test_broken_annotations_are_passed_over() -> None:
    for text in ("[", "7", '["etcd"]'):
        broken = node_with("n", annotations={"rke2.io/node-args": text})
        assert proxy_configs_of_node("n", {}, HostFacts(), cluster(broken)) == ((), ())


def test_config_maps() -> None:
    assert cluster_config_map(cluster()) == (None, ())
    assert cluster_config_map(cluster(config_map("kube-system/kube-proxy", {"config.conf": ""}))) == (None, ())
    assert cluster_config_map(cluster(config_map("other/kube-proxy", {"config.conf": "mode: ipvs"}))) == (None, ())
    eks, _ = cluster_config_map(cluster(config_map("kube-system/kube-proxy-config", {"config": "mode: ipvs"})))
    assert eks is not None
    assert (eks.mode, eks.source) == (ProxyMode.IPVS, "ConfigMap kube-system/kube-proxy-config")
    broken, (gap,) = cluster_config_map(cluster(config_map("kube-system/kube-proxy", {"config.conf": "["})))
    assert broken is None
    assert gap.subject == "ConfigMap kube-system/kube-proxy"


def test_effective_configuration_field_by_field() -> None:
    assert effective_config(()) is None
    best = ProxyConfig(source="a", mode=None, mode_text="", feature_gates={"X": True}, masquerade_all=False)
    worse = ProxyConfig(
        source="b", mode=ProxyMode.IPVS, mode_text="ipvs", feature_gates={"X": False, "Y": True}, masquerade_bit=1
    )
    assert effective_config((best, worse)) == ProxyConfig(
        source="a",
        mode=None,
        mode_text="",
        feature_gates={"X": True, "Y": True},
        masquerade_all=False,
        masquerade_bit=1,
    )
    assert effective_config((ProxyConfig(source="c"), worse)) == structs.replace(
        worse, source="c", feature_gates={"X": False, "Y": True}
    )


def test_the_cluster_means_its_config_map_and_else_the_majority() -> None:
    wanted = ProxyConfig(
        source="1", cluster_cidrs=networks("10.244.0.0/16"), masquerade_bit=14, mode_text="ipvs", mode=ProxyMode.IPVS
    )
    odd = ProxyConfig(
        source="2", cluster_cidrs=networks("10.99.0.0/16"), hostname_override="n", feature_gates={"A": True}
    )
    majority = cluster_proxy_config(cluster(), {"a": wanted, "b": odd, "c": wanted, "d": None})
    assert majority is not None
    assert majority.cluster_cidrs == networks("10.244.0.0/16")
    assert (majority.mode, majority.hostname_override, majority.feature_gates) == (ProxyMode.IPVS, None, {})
    stated = cluster_proxy_config(
        cluster(
            config_map("kube-system/kube-proxy", {"config.conf": "clusterCIDR: 10.1.0.0/16\nhostnameOverride: x\n"})
        ),
        [wanted],
    )
    assert stated is not None
    assert stated.cluster_cidrs == networks("10.1.0.0/16")
    assert (stated.masquerade_bit, stated.hostname_override) == (14, None)
    assert stated.source == "ConfigMap kube-system/kube-proxy"
    assert cluster_proxy_config(cluster(), {}) is None


def test_recorded_faults() -> None:
    for name, stated in (("k-other-cluster-cidr", "10.99.0.0/16"), ("a-stale-node", "10.244.0.0/16")):
        snapshot = fault(name)
        state, _ = parse_cluster(snapshot.api)
        effective = {}
        for node_name, probes in snapshot.nodes.items():
            configs, _ = proxy_configs_of_node(node_name, probes, parse_host(probes)[0], state)
            effective[node_name] = effective_config(configs)
        node02 = effective["node02"]
        assert node02 is not None
        assert node02.cluster_cidrs == networks(stated)
        meant = cluster_proxy_config(state, effective)
        assert meant is not None
        assert meant.cluster_cidrs == networks("10.244.0.0/16")


def test_the_version_comes_from_what_the_proxy_itself_shows() -> None:
    image = container(name="kube-proxy", image="reg:5000/eks/kube-proxy:v1.29.1-eksbuild.2@sha256:aa")
    proxy = pod("kube-system/kube-proxy-x", node="n", containers=[container(), image])
    own = daemon_set("kube-system/kube-proxy", container(name="kube-proxy", image="kube-proxy:v1.28.0"))
    state = cluster(proxy, own, node("n", kubelet_version="v1.30.3"))
    assert proxy_version("n", host(log_version="v1.30.0"), state) == ((1, 30), "nodes/n/kube-proxy.log")
    version, source = proxy_version("n", host(), state)
    assert version == (1, 29)
    assert "pod kube-system/kube-proxy-x" in source
    version, source = proxy_version("n", host(log_version="dirty"), cluster(own, node("n")))
    assert (version, "DaemonSet" in source) == ((1, 28), True)


def test_the_version_is_never_the_kubelets_but_for_one_binary() -> None:
    assert proxy_version("n", host(), cluster(node("n", kubelet_version="v1.30.3"))) == (None, "")
    version, source = proxy_version("n", host(), cluster(node("n", kubelet_version="v1.30.3+k3s1")))
    assert version == (1, 30)
    assert "k3s" in source
    version, _ = proxy_version("n", host("rke2 agent"), cluster(node("n", kubelet_version="v1.27.3")))
    assert version == (1, 27)
    assert proxy_version("n", host("rke2 agent"), cluster(node("n", kubelet_version="odd"))) == (None, "")
    untagged = daemon_set("kube-system/kube-proxy", container(name="kube-proxy", image="kube-proxy"))
    assert proxy_version("n", host(), cluster(untagged, daemon_set("kube-system/x", container()))) == (None, "")


def test_which_pod_is_the_proxy() -> None:
    running = pod("kube-system/b", node="n", containers=[container(name="kube-proxy")])
    failed = pod("kube-system/a", node="n", phase="Failed", containers=[container(name="kube-proxy")])
    other = pod("kube-system/c", node="n", containers=[container(name="kube-proxy", command=["kubelet"])])
    state = cluster(failed, running, other)
    assert proxy_pod("n", state) == running
    assert proxy_pod("m", state) is None
    assert is_proxy_pod(failed)
    assert not is_proxy_pod(other)
