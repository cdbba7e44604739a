"""One statement of a component, with its value in canonical spelling."""

from __future__ import annotations

from kdiag.model.addresses import Network, parse_address, parse_network
from kdiag.model.facts import Fact, FactKind

_RANGES = frozenset({FactKind.SERVICE_RANGE, FactKind.POD_RANGE, FactKind.NODE_POD_RANGE, FactKind.CNI_RANGE})


def make_fact(
    kind: FactKind, component: str, text: str, *, flag: str, source: str, line: int = 0, node: str | None = None
) -> Fact | None:
    """A fact with its value in canonical spelling; None if the text is empty or not a value of this kind."""
    words = [word.strip() for word in text.replace(" ", ",").split(",") if word.strip()]
    networks: tuple[Network, ...] = ()
    if kind in _RANGES:
        found = [parse_network(word) for word in words]
        networks = tuple(network for network in found if network is not None)
        if len(networks) < len(words):
            return None
        words = [str(network) for network in networks]
    elif kind in (FactKind.CLUSTER_DNS, FactKind.ADVERTISE_ADDRESS):
        words = [str(address) for address in map(parse_address, words) if address is not None]
    elif kind is FactKind.NODE_PORT_RANGE:
        span = parse_port_range("".join(words))
        words = [f"{span[0]}-{span[1]}"] if span is not None else []
    if not words:
        return None
    return Fact(
        kind=kind,
        component=component,
        value=",".join(words),
        networks=networks,
        node=node,
        flag=flag,
        source=source,
        line=line,
    )


def parse_port_range(text: str) -> tuple[int, int] | None:
    """First and last port of `30000-32767`, `30000+100` (first and how many more) or `30000`; None if it is none.

    The forms are those of Kubernetes' `utilnet.PortRange`.
    """
    bare = text.strip()
    first, plus, more = bare.partition("+")
    low, _, high = bare.partition("-")
    words = (first, more) if plus else (low, high or low)
    if not all(word.isascii() and word.isdigit() and len(word) <= 5 for word in words):
        return None
    start = int(words[0])
    end = start + int(words[1]) if plus else int(words[1])
    return (start, end) if start <= end <= 65535 else None
