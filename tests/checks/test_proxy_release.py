from __future__ import annotations

from kdiag.checks.node_port_taken import CHECK as NODE_PORT_TAKEN
from kdiag.checks.proxy_release import seen_release
from kdiag.checks.proxy_unlike_peers import CHECK as UNLIKE_PEERS
from kdiag.model.host import HostFacts, ListeningSocket
from tests.checks.builders import cluster, node_view, service, service_port, view

ASSUMED = "the API server's release (assumed)"


def test_an_assumed_release_is_not_seen() -> None:
    assert seen_release(node_view(version=(1, 28))) == (1, 28)
    assert seen_release(node_view(version=(1, 28), version_source=ASSUMED)) is None
    assert seen_release(node_view(version=None)) is None


def test_an_assumed_release_proves_nothing() -> None:
    socket = ListeningSocket(protocol="tcp", address=None, port=30080)
    state = cluster(service(type="NodePort", ports=[service_port(80, node_port=30080)]))
    known = node_view("a", host=HostFacts(sockets=(socket,)), version=(1, 30))
    assumed = node_view("b", host=HostFacts(sockets=(socket,)), version=(1, 33), version_source=ASSUMED)
    assert [item.node for item in NODE_PORT_TAKEN.run(view(state, nodes=[known, assumed]))] == ["a"]
    assert list(UNLIKE_PEERS.run(view(state, nodes=[known, assumed]))) == []
