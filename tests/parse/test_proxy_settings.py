"""kube-proxy's configuration in its spellings."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.addresses import Network, parse_network
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, ProxyMode
from kdiag.parse.proxy_settings import parse_config_yaml, parse_configz, parse_proxy_argv


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(network for network in map(parse_network, texts) if network is not None)


KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
detectLocalMode: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: true
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 1m30s
mode: ""
nodePortAddresses: null
"""


def test_the_file_that_kubeadm_writes() -> None:
    config = parse_config_yaml(KUBEADM, "ConfigMap kube-system/kube-proxy")
    assert config == ProxyConfig(
        source="ConfigMap kube-system/kube-proxy",
        mode=None,
        mode_text="",
        cluster_cidrs=networks("10.244.0.0/16", "fd00:10:244::/56"),
        detect_local_mode=DetectLocalMode.CLUSTER_CIDR,
        masquerade_all=True,
        node_port_addresses=(),
        sync_period_s=90.0,
    )


def test_absent_fields_are_not_stated() -> None:
    config = parse_config_yaml("mode: ipvs\nipvs: {syncPeriod: 5s, minSyncPeriod: 250ms}\n", "s")
    assert config == ProxyConfig(
        source="s", mode=ProxyMode.IPVS, mode_text="ipvs", sync_period_s=5.0, min_sync_period_s=0.25
    )


def test_an_empty_file_says_nothing() -> None:
    assert parse_config_yaml("", "s") is None
    assert parse_config_yaml("---\n# nothing\n", "s") is None
    assert parse_configz(" \n", "s") is None


@pytest.mark.parametrize(
    "text", ["a: [", "just text", "- list", "kind: Config\n", "!!python/object:os.system {}", "\x00"]
)
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(ParseError):
        parse_config_yaml(text, "s")


def test_the_configuration_among_other_documents() -> None:
    config = parse_config_yaml("kind: Other\n---\nkind: KubeProxyConfiguration\nmode: nftables\n", "s")
    assert config is not None
    assert config.mode is ProxyMode.NFTABLES


def configz(settings: dict[str, object]) -> ProxyConfig | None:
    return parse_configz(json.dumps({"kubeproxy.config.k8s.io": settings}), "nodes/n/configz.json")


def test_configz_with_go_field_names() -> None:
    config = configz(
        {
            "FeatureGates": {"EndpointSliceProxying": False},
            "ClusterCIDR": "10.244.0.0/16",
            "HostnameOverride": "node01",
            "IPTables": {"MasqueradeBit": 14, "MasqueradeAll": False, "SyncPeriod": "30s", "MinSyncPeriod": "1s"},
            "Mode": "",
            "NodePortAddresses": ["10.0.0.0/8"],
            "DetectLocalMode": "BridgeInterface",
            "DetectLocal": {"BridgeInterface": "cni0", "InterfaceNamePrefix": ""},
        }
    )
    assert config == ProxyConfig(
        source="nodes/n/configz.json",
        mode_text="",
        cluster_cidrs=networks("10.244.0.0/16"),
        detect_local_mode=DetectLocalMode.BRIDGE_INTERFACE,
        bridge_interface="cni0",
        masquerade_all=False,
        masquerade_bit=14,
        node_port_addresses=("10.0.0.0/8",),
        feature_gates={"EndpointSliceProxying": False},
        min_sync_period_s=1.0,
        sync_period_s=30.0,
        hostname_override="node01",
    )


def test_configz_with_file_names_in_nftables_mode() -> None:
    config = configz(
        {
            "mode": "nftables",
            "iptables": {"masqueradeBit": 14, "masqueradeAll": False, "localhostNodePorts": True, "syncPeriod": "0s"},
            "nftables": {"masqueradeBit": 3, "masqueradeAll": True, "syncPeriod": "30s", "minSyncPeriod": "1s"},
            "nodePortAddresses": None,
            "clusterCIDR": "",
        }
    )
    assert config is not None
    assert (config.masquerade_bit, config.masquerade_all, config.sync_period_s) == (3, True, 30.0)
    assert config.localhost_node_ports is True
    assert config.node_port_addresses is None
    assert config.cluster_cidrs == ()


def test_configz_of_the_releases_in_between() -> None:
    config = configz(
        {
            "Mode": "iptables",
            "IPTables": {"MasqueradeBit": 14},
            "Linux": {"MasqueradeAll": True},
            "DetectLocal": {"ClusterCIDRs": ["10.244.0.0/16", "fd00::/56"], "InterfaceNamePrefix": "veth"},
            "DetectLocalMode": "somethingElse",
            "SyncPeriod": "30s",
            "MinSyncPeriod": "1s",
        }
    )
    assert config is not None
    assert config.masquerade_all is True
    assert config.cluster_cidrs == networks("10.244.0.0/16", "fd00::/56")
    assert config.interface_name_prefix == "veth"
    assert config.detect_local_mode is None
    assert (config.sync_period_s, config.min_sync_period_s) == (30.0, 1.0)


def test_an_unknown_mode_is_kept_as_text() -> None:
    config = configz({"mode": "kernelspace"})
    assert config is not None
    assert (config.mode, config.mode_text) == (None, "kernelspace")


@pytest.mark.parametrize("text", ["404 page not found", "[]", "{}", '{"kubeproxy.config.k8s.io": 7}'])
def test_what_is_no_configz(text: str) -> None:
    with pytest.raises(ParseError):
        parse_configz(text, "s")


def test_flags() -> None:
    config = parse_proxy_argv(
        "kube-proxy --cluster-cidr=10.0.0.0/8 --proxy-mode=ipvs --masquerade-all --nodeport-addresses=primary,10.0.0.0/8 "
        "--ipvs-sync-period=15s --iptables-masquerade-bit=12 --iptables-localhost-nodeports=false "
        "--detect-local-mode=NodeCIDR --feature-gates=A=true,B=false,C --feature-gates=D=1 --pod-bridge-interface=cbr0 "
        "--pod-interface-name-prefix=veth --hostname-override=node01 --ipvs-min-sync-period=2x".split(),
        "nodes/n/ps-ef.txt",
    )
    assert config == ProxyConfig(
        source="nodes/n/ps-ef.txt",
        mode=ProxyMode.IPVS,
        mode_text="ipvs",
        cluster_cidrs=networks("10.0.0.0/8"),
        detect_local_mode=DetectLocalMode.NODE_CIDR,
        bridge_interface="cbr0",
        interface_name_prefix="veth",
        masquerade_all=True,
        masquerade_bit=12,
        node_port_addresses=("primary", "10.0.0.0/8"),
        localhost_node_ports=False,
        feature_gates={"A": True, "B": False, "D": True},
        sync_period_s=15.0,
        hostname_override="node01",
    )


def test_nftables_flags() -> None:
    config = parse_proxy_argv(["kube-proxy", "--proxy-mode=nftables", "--nftables-masquerade-bit=5"], "s")
    assert config is not None
    assert config.masquerade_bit == 5


def test_with_a_file_only_the_host_name_counts() -> None:
    config = parse_proxy_argv(["kube-proxy", "--config=/c", "--cluster-cidr=10.0.0.0/8", "--hostname-override=a"], "s")
    assert config == ProxyConfig(source="s", hostname_override="a")


def test_a_variable_of_the_pod_is_not_a_name() -> None:
    assert parse_proxy_argv(["kube-proxy", "--config=/c", "--hostname-override=$(NODE_NAME)"], "s") == ProxyConfig(
        source="s"
    )


def test_k3s_and_other_programs() -> None:
    config = parse_proxy_argv(["k3s", "server", "--cluster-cidr=10.1.0.0/16", "--kube-proxy-arg=proxy-mode=ipvs"], "s")
    assert config is not None
    assert config.mode is ProxyMode.IPVS
    assert config.cluster_cidrs == networks("10.1.0.0/16")
    assert parse_proxy_argv(["kubelet", "--x"], "s") is None
    assert parse_proxy_argv(["bash"], "s") is None


@given(st.text(max_size=100))
def test_any_text_gives_a_configuration_or_a_parse_error(text: str) -> None:
    for parser in (parse_config_yaml, parse_configz):
        with contextlib.suppress(ParseError):
            parser(text, "s")
