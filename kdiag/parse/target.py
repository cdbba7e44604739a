"""What a user typed to name a Service, a trace target or a client.

Only the spelling is read here; whether there is such a thing is for `kdiag.model.lookup` to say.
"""

from __future__ import annotations

import re

from kdiag.errors import UsageError
from kdiag.model.addresses import Address, Network, Protocol, parse_address, parse_network
from kdiag.model.dataplane import Position
from kdiag.model.objects import ObjectKey
from kdiag.model.trace import (
    AddressTarget,
    NodePortTarget,
    ServiceTarget,
    TraceClient,
    TracePlace,
    TraceTarget,
)

DEFAULT_NAMESPACE = "default"

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
"""RFC 1123 subdomain: what the API accepts as the name of a Service (a stricter label), node or pod."""

_ADDRESS = re.compile(r"(?P<address>\[[^\]]*\]|[0-9.]+)(?::(?P<port>[0-9]+))?(?:/(?P<protocol>[A-Za-z]+))?")
_NODE_PORT = re.compile(r"(?P<node>[^/:]+):(?P<port>[0-9]+)(?:/(?P<protocol>[A-Za-z]+))?")
_SERVICE_WORDS = ("svc", "service", "services")
_FORMS = "svc/NAME, NAMESPACE/NAME, IP:PORT/PROTOCOL and NODE:NODEPORT are understood"


def parse_service_name(text: str, *, namespace: str | None = None, any_namespace: bool = False) -> ObjectKey:
    """`svc/NAME`, `service/NAME`, `NAME`, `NAMESPACE/NAME` or `svc/NAMESPACE/NAME`.

    A name without a namespace gets `namespace` (`default` if None), or an empty one, which stands for all, with
    `any_namespace`. A namespace in the text must not contradict `namespace`. A namespace that is itself called
    `svc` or `service` needs the longest form. Raises UsageError.
    """
    parts = text.split("/")
    if len(parts) > 1 and parts[0] in _SERVICE_WORDS:
        parts = parts[1:]
    return _object_key("Service", text, parts, namespace=namespace, any_namespace=any_namespace)


def parse_trace_target(
    text: str,
    *,
    namespace: str | None = None,
    any_namespace: bool = False,
    client: str | None = None,
    node: str | None = None,
    service_port: str | None = None,
) -> TraceTarget:
    """The target of `kdiag trace` with its options.

    Forms: `svc/NAME`, `NAMESPACE/NAME`, `NAME`, each with `:PORT` behind it if wanted; `IP:PORT/PROTOCOL` with IPv6
    addresses in brackets; `NODE:NODEPORT/PROTOCOL`. The protocol is TCP if left out. Raises UsageError.
    """
    wanted_port = parse_service_port(service_port) if service_port is not None else None
    bare = text.strip()
    place: TracePlace
    if (match := _ADDRESS.fullmatch(bare)) is not None and (address := parse_address(match["address"])) is not None:
        place = _address_target(text, address, match, wanted_port)
        wanted_port = None
    elif parse_address(bare) is not None:
        raise UsageError(f"{bare!r} has no port", hint=f"write an IPv6 address in brackets: [{bare}]:PORT/PROTOCOL")
    elif (match := _NODE_PORT.fullmatch(bare)) is not None:
        if wanted_port is not None:
            raise UsageError("--port goes with a Service, not with a node port", hint="leave --port out")
        place = NodePortTarget(
            node=_name("node", text, match["node"]),
            node_port=_port_number(text, match["port"]),
            protocol=_protocol(text, match["protocol"]),
        )
    else:
        named, colon, port_text = bare.rpartition(":")
        if not colon:
            named = bare
        elif wanted_port is not None:
            raise UsageError("the port was given twice", hint="leave out either --port or the port behind the name")
        else:
            wanted_port = parse_service_port(port_text.partition("/")[0])
        place = ServiceTarget(service=parse_service_name(named, namespace=namespace, any_namespace=any_namespace))
    return TraceTarget(
        text=text,
        place=place,
        client=None if client is None else parse_client(client, namespace=namespace, any_namespace=any_namespace),
        node=None if node is None else _name("node", node, node),
        service_port=wanted_port,
    )


def parse_client(text: str, *, namespace: str | None = None, any_namespace: bool = False) -> TraceClient:
    """`pod/NAME`, `pod/NAMESPACE/NAME`, `node/NAME` or `external`. Raises UsageError."""
    kind, _, rest = text.partition("/")
    if kind in ("pod", "pods", "po") and rest:
        key = _object_key("pod", text, rest.split("/"), namespace=namespace, any_namespace=any_namespace)
        return TraceClient(position=Position.POD, pod=key)
    if kind in ("node", "nodes", "no") and rest:
        return TraceClient(position=Position.NODE, node=_name("node", text, rest))
    if text == "external":
        return TraceClient(position=Position.EXTERNAL)
    raise UsageError(f"{text!r} is no client", hint="pod/NAME, node/NAME and external are understood")


def parse_service_port(text: str) -> str | int:
    """A Service port by number or by name (`80`, `http`). Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) < 20:
        return _port_number(text, text)
    # IANA service names: at most 15 of these characters (validated so by the API for port names).
    if re.fullmatch(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", text) is None:
        raise UsageError(
            f"{text!r} is neither a port number nor a port name", hint="give it as in the Service: 80 or http"
        )
    return text


def parse_reserved(text: str) -> Network:
    """A range for --reserved. Raises UsageError."""
    network = parse_network(text)
    if network is None:
        raise UsageError(f"{text!r} is no address range", hint="give it as CIDR: 172.16.0.0/12")
    return network


def _address_target(text: str, address: Address, match: re.Match[str], wanted_port: str | int | None) -> AddressTarget:
    if match["port"] is not None:
        if wanted_port is not None:
            raise UsageError("the port was given twice", hint="leave out --port: the target names a port already")
        number = _port_number(text, match["port"])
    elif isinstance(wanted_port, int):
        number = wanted_port
    else:
        raise UsageError(f"{text!r} has no port", hint="write IP:PORT/PROTOCOL, or add --port NUMBER")
    return AddressTarget(address=address, port_number=number, protocol=_protocol(text, match["protocol"]))


def _object_key(kind: str, text: str, parts: list[str], *, namespace: str | None, any_namespace: bool) -> ObjectKey:
    if len(parts) == 2:
        stated, last = parts
        if namespace is not None and stated != namespace:
            raise UsageError(
                f"{text!r} is in namespace {stated}, and -n says {namespace}", hint="leave one of the two out"
            )
        return ObjectKey(namespace=_name("namespace", text, stated), name=_name(kind, text, last))
    if len(parts) > 2:
        raise UsageError(f"{text!r} has too many slashes", hint=_FORMS)
    if any_namespace:
        return ObjectKey(namespace="", name=_name(kind, text, parts[0]))
    return ObjectKey(namespace=namespace or DEFAULT_NAMESPACE, name=_name(kind, text, parts[0]))


def _name(kind: str, text: str, part: str) -> str:
    if len(part) > 253 or _NAME.fullmatch(part) is None:
        raise UsageError(f"{text!r} is no {kind} name", hint=_FORMS if kind == "Service" else "")
    return part


def _port_number(text: str, digits: str) -> int:
    number = int(digits) if len(digits) <= 5 else 0
    if not 1 <= number <= 65535:
        raise UsageError(f"{text!r} holds a port number outside 1 to 65535")
    return number


def _protocol(text: str, word: str | None) -> Protocol:
    if word is None:
        return Protocol.TCP
    try:
        return Protocol(word.upper())
    except ValueError:
        raise UsageError(f"{text!r} names an unknown protocol", hint="TCP, UDP and SCTP are understood") from None
