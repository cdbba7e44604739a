"""Where packets really went, and where the walker says they go.

Each row of the recorded ground truth is one client, one target and a number of real TCP connections. Some rows were made
with a rule changed on node01: the same change is made to the recorded dump here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from kdiag.model.addresses import Address, AddressSet, Protocol, SocketAddress, parse_address
from kdiag.model.dataplane import ClientSet, Disposition, Frontend, FrontendKind, Masquerade, Position
from kdiag.model.view import NodeView, View
from kdiag.pipeline.viewing import build_view
from kdiag.pipeline.walking import ends, network_of
from kdiag.walk.network import NodeNetwork
from kdiag.walk.walker import Leaf
from tests.corpus_fixtures import cluster, ground_truth, variant

CLUSTER = "v1.20.2-iptables-nft"
PORTALS = '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
THREE = "-A KUBE-SVC-OKFF342BO4PYBWUL"
# Clients that were made for the measurement and are no objects of the API.
CLIENT_ADDRESSES = {"client-1": "10.244.1.200", "client-2": "10.244.2.200", "nginx": "10.244.1.3"}


def _without(part: str, *, starts: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if not (line.startswith(starts) and part in line)]
        assert len(kept) == len(lines) - 1
        return "".join(kept)

    return edit


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return edit


def _first_of_three(probability: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines(keepends=True)
        index = next(i for i, line in enumerate(lines) if line.startswith(THREE))
        before, _, after = lines[index].partition(" -m statistic --mode random --probability 0.33333333349")
        assert after
        lines[index] = before + probability + after
        return "".join(lines)

    return edit


def _second_of_three_deleted(text: str) -> str:
    lines = text.splitlines(keepends=True)
    second = [i for i, line in enumerate(lines) if line.startswith(THREE)][1]
    return "".join(lines[:second] + lines[second + 1 :])


REJECT = (
    "-A KUBE-SERVICES -d 10.101.67.139/32 -p tcp -m comment --comment stale -m tcp --dport 80 "
    "-j REJECT --reject-with icmp-port-unreachable\n"
)


def _with_stale_reject(text: str) -> str:
    marker = "-A KUBE-SERVICES -d 10.96.100.11/32"
    assert text.count(marker) >= 1
    index = text.index(marker)
    return text[:index] + REJECT + text[index:]


HIJACK = "-A PREROUTING -d 10.101.67.139/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.2.10:80\n"
EDITS: dict[str, Callable[[str], str]] = {
    "PREROUTING jump missing": _replaced(PORTALS, ""),
    "first rule of three-eps without probability": _first_of_three(""),
    "first rule of three-eps with probability 0.9": _first_of_three(" -m statistic --mode random --probability 0.9"),
    "second endpoint rule deleted, probabilities unchanged": _second_of_three_deleted,
    "foreign DNAT to three-2 (10.244.2.10:80) before KUBE-SERVICES in PREROUTING": _replaced(PORTALS, HIJACK + PORTALS),
    "foreign ACCEPT for the service CIDR before KUBE-SERVICES in PREROUTING": _replaced(
        PORTALS, "-A PREROUTING -d 10.96.0.0/12 -j ACCEPT\n" + PORTALS
    ),
    "stale REJECT in filter KUBE-SERVICES for a Service with endpoints": _with_stale_reject,
    "KUBE-MARK-MASQ empty (hairpin)": _without("-j MARK", starts="-A KUBE-MARK-MASQ"),
    "KUBE-MARK-MASQ empty": _without("-j MARK", starts="-A KUBE-MARK-MASQ"),
    "stale local-cluster": _replaced(
        '--comment "default/local-cluster" -m tcp -j DNAT --to-destination 10.244.1.3:80',
        '--comment "default/local-cluster" -m tcp -j DNAT --to-destination 10.244.1.10:80',
    ),
}


class Row:
    """One measured row, and what the walk says of it."""

    def __init__(self, row: Mapping[str, Any], view: View) -> None:
        self.row = row
        self.view = view
        target, _, port_text = str(row["target"]).rpartition(":")
        address = parse_address(target)
        assert address is not None
        self.address: Address = address
        self.port = int(port_text)
        kind, _, name = str(row["client"]).partition(":")
        self.kind = kind
        self.name, _, self.on_node = name.partition("@")

    @property
    def node(self) -> NodeView:
        """The node whose rules the packet meets first."""
        if self.kind == "node":
            return self.view.node_by_name[self.name]
        if self.kind == "pod":
            return self.view.node_by_name[self.on_node]
        for node in self.view.nodes:
            if any(item.address == self.address for item in node.host.addresses or ()):
                return node
        return self.view.node_by_name["node01"]  # the outside client's route to the Service range

    @property
    def arrives(self) -> bool:
        """False for an address on the outside client's own network that no node has: nobody answers its ARP."""
        on_link = str(self.address).startswith("192.168.56.")
        held = any(item.address == self.address for node in self.view.nodes for item in node.host.addresses or ())
        return self.kind != "outside" or not on_link or held

    def client(self, network: NodeNetwork) -> tuple[Position, Address]:
        if self.kind == "node":
            source = network.source_for(self.address)
            assert source is not None
            return Position.NODE, source
        text = CLIENT_ADDRESSES[self.name] if self.kind == "pod" else self.name
        source = parse_address(text)
        assert source is not None
        return (Position.POD if self.kind == "pod" else Position.EXTERNAL), source

    def predicted(self) -> tuple[dict[SocketAddress, float], dict[str, float], bool]:
        """Share of the connections by backend that answers, by source address that it sees, and whether one client
        always gets the same backend."""
        node = self.node
        network = network_of(self.view, node, self.address)
        position, source = self.client(network)
        frontend = Frontend(
            address=self.address,
            protocol=Protocol.TCP,
            port=self.port,
            kind=FrontendKind.CLUSTER_IP,
            position=position,
        )
        alone = AddressSet.of(network.family, (source,))
        clients = [
            ClientSet(addresses=item.addresses & alone, interfaces=item.interfaces)
            for item in network.clients(position, self.address)
            if item.addresses & alone
        ]
        assert clients, f"{source} is no {position} client of {node.name}"
        backends: dict[SocketAddress, float] = {}
        sources: dict[str, float] = {}
        sticky = False
        leaves: list[Leaf] = ends(node, network, frontend, clients) if self.arrives else []
        for leaf in leaves:
            fate = leaf.fate
            assert not leaf.assumptions
            if fate.disposition is not Disposition.BACKEND or fate.backend is None:
                continue
            seen = source
            if fate.masquerade is not Masquerade.NO:
                rewritten = network.source_for(fate.backend.address)
                assert rewritten is not None
                seen = rewritten
            if seen == fate.backend.address:
                continue  # a host does not answer a packet that claims to come from itself
            sticky = sticky or fate.affinity_s is not None
            backends[fate.backend] = backends.get(fate.backend, 0.0) + leaf.weight
            sources[str(seen)] = sources.get(str(seen), 0.0) + leaf.weight
        return backends, sources, sticky


def _rows() -> list[Any]:
    found = []
    for index, row in enumerate(ground_truth(CLUSTER)["results"]):
        note = str(row.get("note", ""))
        label = f"{index:02d}-{row['client']}-{row['target']}"
        found.append(pytest.param(row, note, id=label))
    return found


@cache
def _view(change: str) -> View:
    base = cluster(CLUSTER)
    changed = variant(base, node="node01", probe="iptables-save", edit=EDITS[change]) if change else base
    return build_view(changed, every_port=True)[0]


@pytest.mark.parametrize(("row", "note"), _rows())
def test_the_walk_predicts_what_real_packets_did(row: Mapping[str, Any], note: str) -> None:
    measured = Row(row, _view(note.partition(": ")[2] if note.startswith("FAULT") else ""))
    backends, sources, sticky = measured.predicted()
    names = {
        SocketAddress(address, backend.port): pods[0].key.name
        for backend in backends
        for address in [backend.address]
        if (pods := measured.view.cluster.pods_by_address.get(address, ()))
    }
    answered = {str(name): int(count) for name, count in row["answered_by"].items()}
    connections = int(row["connections"])
    assert set(answered) <= {names[backend] for backend in backends}
    if sticky:
        assert len(answered) == 1
        return
    assert set(answered) == {names[backend] for backend in backends}
    _same_proportions({names[backend]: share for backend, share in backends.items()}, answered, connections)
    seen = {str(name): int(count) for name, count in row["source_ip_seen_by_pod"].items()}
    assert set(seen) == set(sources)
    _same_proportions(sources, seen, connections)
    if not backends:
        assert row["errors"]


def _same_proportions(shares: Mapping[str, float], counts: Mapping[str, int], total: int) -> None:
    """Each count lies within five standard deviations of its expectation."""
    for name, share in shares.items():
        spread = math.sqrt(total * share * (1 - share))
        assert abs(counts.get(name, 0) - total * share) <= 5 * spread + 1e-6


@pytest.mark.parametrize("client", ["node:node01", "pod:client-1@node01"])
def test_one_stale_backend_alone_is_followed_as_measured(client: str) -> None:
    """The control of the split-brain rows: only stale nft rules. (With two backends no dump shows which one decides.)"""
    rows = ground_truth("v1.20.2-split-brain-and-nodeport-sockets")["results"]
    row = next(item for item in rows if item["client"] == client and str(item["note"]).startswith("control"))
    backends, sources, _ = Row(row, _view("stale local-cluster")).predicted()
    assert {str(backend): share for backend, share in backends.items()} == {"10.244.1.10:80": 1.0}
    assert row["answered_by"] == {"three-0": 30}
    assert set(sources) == set(row["source_ip_seen_by_pod"])


@pytest.mark.parametrize("client", ["node:node01", "pod:client-1@node01"])
def test_the_backend_written_last_is_followed_as_measured(client: str) -> None:
    rows = ground_truth("v1.20.2-split-brain-and-nodeport-sockets")["results"]
    for row in rows:
        if row["client"] != client or not str(row["note"]).startswith("split brain"):
            continue
        backends, sources, _ = Row(row, _view("")).predicted()
        assert {str(backend) for backend in backends} == {"10.244.1.3:80"}
        assert row["answered_by"] == {"nginx": 30}
        assert set(sources) == set(row["source_ip_seen_by_pod"])


def _with_kubelet_rules(text: str) -> str:
    """The rules that kubelet 1.20 writes, as they were entered by hand for the second of these rows."""
    text = text.replace(":KUBE-FORWARD - [0:0]\n", ":KUBE-FIREWALL - [0:0]\n:KUBE-FORWARD - [0:0]\n", 1)
    text = text.replace("-A INPUT -m", "-A INPUT -j KUBE-FIREWALL\n-A INPUT -m", 1)
    text = text.replace(
        "-A KUBE-FORWARD -m", "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\n-A KUBE-FORWARD -m", 1
    )
    return text.replace(
        "-A KUBE-MARK-MASQ", "-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n-A KUBE-MARK-MASQ", 1
    )


@pytest.mark.parametrize("with_kubelet", [False, True])
def test_node_ports_without_usable_endpoint_end_as_measured(with_kubelet: bool) -> None:
    """kube-proxy 1.20 listens on every NodePort itself: what no rule takes is accepted there and never answered."""
    rows = [row for row in ground_truth("v1.20.2-split-brain-and-nodeport-sockets")["results"] if "tcp_connect" in row]
    assert len(rows) == 2
    measured = dict(rows[1 if with_kubelet else 0]["tcp_connect"])
    snapshot = cluster(CLUSTER)
    if with_kubelet:
        snapshot = variant(snapshot, node="node02", probe="iptables-save", edit=_with_kubelet_rules)
    view = build_view(snapshot, every_port=True)[0]
    node = view.node_by_name["node02"]
    address, client = parse_address("192.168.56.12"), parse_address("192.168.56.1")
    assert address is not None
    assert client is not None
    network = network_of(view, node, address)
    words = {}
    for port in measured:
        frontend = Frontend(
            address=address,
            protocol=Protocol.TCP,
            port=int(port),
            kind=FrontendKind.NODE_PORT,
            position=Position.EXTERNAL,
        )
        alone = AddressSet.of(network.family, (client,))
        clients = [
            ClientSet(addresses=alone, interfaces=item.interfaces)
            for item in network.clients(Position.EXTERNAL, address)
            if item.addresses & alone
        ]
        (leaf,) = ends(node, network, frontend, clients)
        listens = any(item.port == int(port) and item.address is None for item in node.host.sockets or ())
        match leaf.fate.disposition:
            case Disposition.REJECTED:
                words[port] = "ConnectionRefusedError"
            case Disposition.DROPPED:
                words[port] = "TimeoutError"
            case Disposition.UNTRANSLATED if listens:
                words[port] = "connected, then no answer"
    assert words == measured
