"""A made-up cluster as a snapshot that kdiag reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.generator import api_lists, ipvs, nftables
from bench.generator.cluster import CLUSTER_CIDR, Cluster, NodeState
from bench.generator.iptables import IptablesNodes, ip6tables_dump

PLANTED = "planted.json"
"""File that says which Services are wrong on which node: kdiag does not look at it."""

_TAKEN_AT = "2026-11-29T10:00:00Z"


def write_snapshot(cluster: Cluster, directory: Path) -> None:
    """Writes a snapshot directory, and PLANTED beside what belongs to the snapshot."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(
        directory / "manifest.json",
        {"format": "kdiag/snapshot/v1", "cluster": "generated", "taken_at": _TAKEN_AT, "gaps": [], "files": {}},
    )
    wrong = [asdict(item) for item in cluster.wrong]
    _write_json(directory / PLANTED, {"options": asdict(cluster.options), "wrong": wrong})
    place = directory / "cluster"
    place.mkdir(exist_ok=True)
    for name, content in _lists(cluster):
        (place / f"{name}.json").write_bytes(content)
    rules = IptablesNodes(cluster)
    for state in cluster.states:
        place = directory / "nodes" / state.node.name
        place.mkdir(parents=True, exist_ok=True)
        for name, text in node_files(cluster, state, rules):
            (place / name).write_text(text)


def node_files(cluster: Cluster, state: NodeState, rules: IptablesNodes) -> Iterator[tuple[str, str]]:
    """What each command prints on a node, by the name of its file."""
    mode = cluster.options.mode
    yield "iptables-version.txt", "iptables v1.8.9 (nf_tables)\n"
    match mode:
        case "iptables":
            yield "iptables-save.txt", rules.dump(state)
            yield "ip6tables-save.txt", ip6tables_dump()
        case "nftables":
            yield "iptables-save.txt", ""
            yield "ip6tables-save.txt", ""
            yield "nft-j-list-ruleset.json", nftables.json_dump(cluster, state)
            yield "nft-list-ruleset.txt", nftables.text_dump(cluster, state)
        case "ipvs":
            yield "iptables-save.txt", ipvs.iptables_dump()
            yield "ip6tables-save.txt", ""
            yield "ipvsadm-save-n.txt", ipvs.virtual_servers(cluster, state)
            yield "ipset-save.txt", ipvs.ipsets(cluster, state)
    yield "proxyMode.txt", mode
    yield "configz.json", _compact({"kubeproxy.config.k8s.io": _configuration(cluster, state)})
    health = {"lastUpdated": _TAKEN_AT, "currentTime": _TAKEN_AT, "nodeEligible": True, "healthy": True}
    yield (
        "kube-proxy-healthz.json",
        _compact({**health, "status": {"IPv4": {"lastUpdated": _TAKEN_AT, "healthy": True}}}),
    )
    command = [
        "/usr/local/bin/kube-proxy",
        "--config=/var/lib/kube-proxy/config.conf",
        f"--hostname-override={state.node.name}",
    ]
    yield "argv.json", _compact({"2700": command})
    yield "ip-addr.json", _compact(_links(cluster, state))
    yield "ip-route.json", _compact(_routes(state))
    yield "sysctls.txt", _sysctls(mode)
    yield "ss-ltnuH.txt", _sockets(cluster, state)


def _lists(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    yield (
        "version",
        (_compact({"major": "1", "minor": "36", "gitVersion": api_lists.VERSION, "platform": "linux/amd64"})).encode(),
    )
    lists = {
        "services": ("ServiceList", "v1", api_lists.services(cluster)),
        "endpointslices-v1": ("EndpointSliceList", "discovery.k8s.io/v1", api_lists.endpoint_slices(cluster)),
        "nodes": ("NodeList", "v1", api_lists.nodes(cluster)),
        "namespaces": ("NamespaceList", "v1", api_lists.namespaces(cluster)),
        "servicecidrs-v1": ("ServiceCIDRList", "networking.k8s.io/v1", api_lists.service_cidrs()),
        "kube-system-configmaps": ("ConfigMapList", "v1", api_lists.config_maps(cluster)),
        "kube-system-daemonsets": ("DaemonSetList", "apps/v1", api_lists.daemon_sets(cluster)),
    }
    for name, (kind, api_version, items) in lists.items():
        yield name, api_lists.list_bytes(kind, api_version, items)


def _configuration(cluster: Cluster, state: NodeState) -> dict[str, Any]:
    """What kube-proxy answers at /configz, as far as it decides about rules."""
    mode = cluster.options.mode
    return {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "hostnameOverride": state.node.name,
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": mode,
        "iptables": {"masqueradeBit": 14, "masqueradeAll": False, "localhostNodePorts": True, "syncPeriod": "30s"},
        "ipvs": {"syncPeriod": "30s", "scheduler": "", "excludeCIDRs": None, "strictARP": False},
        "nftables": {"masqueradeBit": 14, "masqueradeAll": False, "syncPeriod": "30s"},
        "detectLocalMode": "ClusterCIDR",
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
        "clusterCIDR": CLUSTER_CIDR,
        "nodePortAddresses": ["primary"] if mode == "nftables" else None,
        "conntrack": {"tcpBeLiberal": False},
    }


def _links(cluster: Cluster, state: NodeState) -> list[dict[str, Any]]:
    node = state.node
    up = ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]
    links = [
        _link(1, "lo", ["LOOPBACK", "UP", "LOWER_UP"], "UNKNOWN", "loopback", [("127.0.0.1", 8, "host")]),
        _link(2, "eth0", up, "UP", "ether", [(node.address, 16, "global")]),
        _link(3, "cni0", up, "UP", "ether", [(node.bridge_address, 24, "global")]),
    ]
    if cluster.options.mode == "ipvs":
        addresses = [(address, 32, "global") for address in ipvs.dummy_addresses(cluster, state)]
        links.append(_link(4, "kube-ipvs0", ["BROADCAST", "NOARP"], "DOWN", "ether", addresses))
    return links


def _link(
    index: int, name: str, flags: list[str], state: str, kind: str, addresses: list[tuple[str, int, str]]
) -> dict[str, Any]:
    return {
        "ifindex": index,
        "ifname": name,
        "flags": flags,
        "mtu": 65536 if kind == "loopback" else 1500,
        "operstate": state,
        "link_type": kind,
        "address": "00:00:00:00:00:00" if kind == "loopback" else f"52:54:00:38:00:{index:02x}",
        "addr_info": [
            {"family": "inet", "local": address, "prefixlen": length, "scope": scope, "label": name}
            for address, length, scope in addresses
        ],
    }


def _routes(state: NodeState) -> list[dict[str, Any]]:
    """Pods of other nodes are behind the gateway, as in the networks of clouds."""
    node = state.node
    return [
        {"dst": "default", "gateway": "192.168.255.254", "dev": "eth0", "flags": []},
        {"dst": node.pod_cidr, "dev": "cni0", "protocol": "kernel", "scope": "link", "prefsrc": node.bridge_address},
        {"dst": "192.168.0.0/16", "dev": "eth0", "protocol": "kernel", "scope": "link", "prefsrc": node.address},
    ]


def _sysctls(mode: str) -> str:
    values = {
        "net/ipv4/ip_forward": 1,
        "net/ipv4/conf/all/route_localnet": 1 if mode == "iptables" else 0,
        "net/bridge/bridge-nf-call-iptables": 1,
    }
    if mode == "ipvs":
        values |= {"net/ipv4/vs/conntrack": 1, "net/ipv4/vs/expire_nodest_conn": 1}
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def _sockets(cluster: Cluster, state: NodeState) -> str:
    lines = ["tcp LISTEN 0 4096 127.0.0.1:10249 0.0.0.0:*", "tcp LISTEN 0 4096 *:10256 *:*"]
    if state.node.number == 0:
        lines.append("tcp LISTEN 0 4096 *:6443 *:*")
    lines += [f"tcp LISTEN 0 4096 *:{item.health_port} *:*" for item in cluster.services if item.health_port]
    return "\n".join(lines) + "\n"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
