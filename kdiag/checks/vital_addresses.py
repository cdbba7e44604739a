"""Addresses outside the cluster's ranges that a cluster cannot do without: its API servers and its resolvers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from kdiag.model.addresses import Address, parse_address
from kdiag.model.cluster import ClusterState
from kdiag.model.facts import FactKind
from kdiag.model.objects import ObjectKey
from kdiag.model.view import View

_API_SERVICE = ObjectKey(namespace="default", name="kubernetes")
_DNS_PORTS = frozenset({53, 853})
_FORWARD = re.compile(r"^\s*(?:forward|proxy)\s+\S+\s+(?P<servers>[^{\n]+)", re.MULTILINE)
"""CoreDNS sends what it does not know itself to these (`forward . 192.0.2.1 tls://192.0.2.2:853`); proxy up to 1.4."""


class VitalAddress(Struct, frozen=True, kw_only=True):
    """An address, whose it is in words, and the ports that are needed there."""

    address: Address
    owner: str
    ports: frozenset[int]


def vital_addresses(view: View) -> tuple[VitalAddress, ...]:
    """API servers that are no nodes of the cluster too, and the resolvers that kubelets and CoreDNS were told of.

    Not addresses of Services: those have owners of their own.
    """
    own = {address for service in view.cluster.services for address in service.cluster_ips}
    found = {item.address: item for item in (*_resolvers(view), *_api_servers(view.cluster))}
    return tuple(
        found[address]
        for address in sorted(found, key=lambda item: (item.version, int(item)))
        if address not in own and not address.is_loopback
    )


def _api_servers(state: ClusterState) -> Iterator[VitalAddress]:
    for item in state.slices_by_service.get(_API_SERVICE, ()):
        ports = frozenset(port.port for port in item.ports if port.port is not None)
        for endpoint in item.endpoints:
            yield VitalAddress(address=endpoint.address, owner="an API server", ports=ports)


def _resolvers(view: View) -> Iterator[VitalAddress]:
    for config_map in sorted(view.cluster.config_maps, key=lambda item: item.meta.key):
        for match in _FORWARD.finditer(config_map.data.get("Corefile", "")):
            for word in match["servers"].split():
                address = _server(word)
                if address is not None:
                    yield VitalAddress(address=address, owner="a resolver that CoreDNS asks", ports=_DNS_PORTS)
    for fact in view.facts.of(FactKind.CLUSTER_DNS):
        for text in fact.value.split(","):
            address = parse_address(text)
            if address is not None:
                yield VitalAddress(address=address, owner="the resolver of pods", ports=_DNS_PORTS)


def _server(word: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:53`, `tls://[2001:db8::1]:853`; a path of a resolv.conf is none."""
    bare = word.rpartition("://")[2]
    found = parse_address(bare)
    return found if found is not None else parse_address(bare.rpartition(":")[0])
