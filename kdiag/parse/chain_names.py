"""The names of kube-proxy's per-Service chains in iptables mode, and the comments that name a Service port.

A chain is called after a hash: SHA-256 of the Service port's name and its protocol (and, for an endpoint, its address),
in base32, cut to 16 characters. The same in all releases from 1.16 to 1.36 (pkg/proxy/iptables/proxier.go,
portProtoHash and servicePortEndpointChainName), but for the name of an unnamed port: `namespace/service` today,
`namespace/service:` in releases before that.
"""

from __future__ import annotations

import enum
import re
from base64 import b32encode
from collections.abc import Iterable
from hashlib import sha256

from kdiag.model.addresses import Protocol, SocketAddress
from kdiag.model.dataplane import ServicePortKey
from kdiag.model.objects import ObjectKey

_HASH_LENGTH = 16


class ChainRole(enum.StrEnum):
    """What a per-Service chain is for; the value is the prefix of its name."""

    SERVICE = "KUBE-SVC-"
    """Balances over all endpoints."""
    LOCAL_SERVICE = "KUBE-SVL-"
    """Balances over the node's own endpoints (1.24 and later)."""
    EXTERNAL = "KUBE-EXT-"
    """Receives traffic for external addresses and node ports (1.24 and later)."""
    FIREWALL = "KUBE-FW-"
    """Lets the source ranges of a load balancer pass."""
    XLB = "KUBE-XLB-"
    """External traffic with the policy Local (up to 1.23)."""
    ENDPOINT = "KUBE-SEP-"
    """Translates to one endpoint."""


_NAME = re.compile(rf"({'|'.join(role.value for role in ChainRole)})([A-Z2-7]{{{_HASH_LENGTH}}})")

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_COMMENT = re.compile(
    r"(?:masquerade traffic for |pod traffic for |masquerade LOCAL traffic for |route LOCAL traffic for "
    r"|other traffic to |Balancing rule \d+ for )?"
    rf"(?P<name>{_LABEL}/{_LABEL}(?::[A-Za-z0-9-]*)?)"
    r"(?: -> \S+| cluster IP| external IP| loadbalancer IP| external destinations| LB IP(?: to service chain)?"
    r"| has no endpoints| has no local endpoints| health check node port"
    r"| traffic not accepted by KUBE-FW-\S+| will be dropped by KUBE-PROXY-FIREWALL)?"
)
"""All comments of kube-proxy 1.16 to 1.36 that name a Service port."""


def service_port_hash(
    service_key: ObjectKey | str, port_name: str, protocol: Protocol | str, *, colon: bool = False
) -> str:
    """The 16 characters that the chains of a Service port share.

    `service_key` is `namespace/name`. `colon` gives the older spelling of an unnamed port.
    """
    return _hash(_port_text(service_key, port_name, colon) + protocol.lower())


def endpoint_hash(
    service_key: ObjectKey | str,
    port_name: str,
    protocol: Protocol | str,
    endpoint: SocketAddress | str,
    *,
    colon: bool = False,
) -> str:
    """The 16 characters of an endpoint's chain.

    `endpoint` is `10.0.0.1:80` or `[fd00::1]:80`. kube-proxy hashes the address as the API spells it, so an IPv6 address
    in another than its shortest spelling must be given as text.
    """
    return _hash(_port_text(service_key, port_name, colon) + protocol.lower() + str(endpoint))


def read_chain_name(name: str) -> tuple[ChainRole, str] | None:
    """Role and hash of a per-Service chain of kube-proxy; None for any other chain.

    Only exact prefixes count: others call their chains `KUBE-…` too (kube-router's KUBE-POD-FW-…).
    """
    found = _NAME.fullmatch(name)
    return (ChainRole(found[1]), found[2]) if found else None


def service_port_of_comment(comment: str) -> str | None:
    """The Service port (`default/web`, `default/web:http`) that a comment of kube-proxy names; None if it names none.

    A trailing colon, which older releases write for an unnamed port, is dropped.
    """
    found = _COMMENT.fullmatch(comment.strip())
    return found["name"].rstrip(":") if found else None


class ChainIndex:
    """Which Service port a chain belongs to, for the given Service ports and both spellings of an unnamed one."""

    def __init__(self, service_ports: Iterable[ServicePortKey]) -> None:
        self._by_hash: dict[str, ServicePortKey] = {}
        for key in service_ports:
            for digest in _hashes(key):
                self._by_hash.setdefault(digest, key)

    def service_port(self, chain_name: str) -> ServicePortKey | None:
        """The Service port of a chain; None for a chain of none of them and for endpoint chains."""
        read = read_chain_name(chain_name)
        if read is None or read[0] is ChainRole.ENDPOINT:
            return None
        return self._by_hash.get(read[1])

    def endpoint(
        self, chain_name: str, candidates: Iterable[tuple[ServicePortKey, SocketAddress | str]]
    ) -> tuple[ServicePortKey, SocketAddress | str] | None:
        """The first candidate after which an endpoint chain is named; None if it is named after none.

        An endpoint chain can be named after the API's spelling of an IPv6 address (see `endpoint_hash`): that it is not
        named after its address is no fault.
        """
        read = read_chain_name(chain_name)
        if read is None or read[0] is not ChainRole.ENDPOINT:
            return None
        for key, address in candidates:
            if read[1] in _endpoint_hashes(key, address):
                return key, address
        return None


def _hashes(key: ServicePortKey) -> tuple[str, ...]:
    spellings = (False,) if key.port_name else (False, True)
    return tuple(service_port_hash(key.service, key.port_name, key.protocol, colon=colon) for colon in spellings)


def _endpoint_hashes(key: ServicePortKey, address: SocketAddress | str) -> tuple[str, ...]:
    spellings = (False,) if key.port_name else (False, True)
    return tuple(endpoint_hash(key.service, key.port_name, key.protocol, address, colon=colon) for colon in spellings)


def _port_text(service_key: ObjectKey | str, port_name: str, colon: bool) -> str:
    return f"{service_key}:{port_name}" if port_name or colon else str(service_key)


def _hash(text: str) -> str:
    return b32encode(sha256(text.encode()).digest()).decode()[:_HASH_LENGTH]
