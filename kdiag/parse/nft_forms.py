"""What the chains of a Service in nftables mode look like once everything that is its own is taken out.

As `kdiag.parse.iptables_forms`, for the rules that kube-proxy writes as `nft -j` prints them. In a form stand for what
was taken out:

    \\0  the name of an endpoint          \\1  the endpoints among which packets are shared out evenly
    \\2  address, protocol and port       \\3  the name of another chain of the Service
    \\4  an endpoint's address and port   \\5  an endpoint's address

A chain that names a Service or an endpoint in another way, or sends packets on in another way, has no form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from kdiag.model.addresses import Family
from kdiag.parse.iptables_forms import ChainForm, ChainText
from kdiag.parse.service_words import NOT_SENT, Sent

_ADDRESS = rb"[0-9a-f.:]+"
_PROTOCOL = rb"tcp|udp|sctp"
_NAME = rb'[A-Z2-7]{8}-[^"\\]+'
LINK = re.compile(rb'"((?:service|local|external|firewall)-%b)"' % _NAME)
_FAMILIES = {Family.IPV4: b"ip", Family.IPV6: b"ip6"}
_BALANCER = b'{"key": {"numgen": {"mode": "random", "mod": '
_ELEMENTS = b', "offset": 0}}, "data": {"set": [['
_END = b"]]}"
_L4PROTO = rb'\[\{"match": \{"op": "==", "left": \{"meta": \{"key": "l4proto"\}\}, "right": "(%b)"\}\}, ' % _PROTOCOL
_TRANSLATED = re.compile(
    rb'(%b\{"dnat": \{(?:"family": "ip6?", )?)"addr": "(%b)", "port": (\d+)\}\}\]' % (_L4PROTO, _ADDRESS)
)
# What no form may hold: something of a Service or of an endpoint, or a way to another place.
_LEFT = re.compile(rb'-[A-Z2-7]{8}-|"(?:numgen|dnat|redirect|tproxy|fwd|dup|synproxy)"')


class ReadChain(Struct, frozen=True):
    """A Service's chain taken apart. `protocol` is set where it sends packets to endpoints itself: then the endpoints of
    `text` are addresses and ports (`10.244.1.5:8080`), else the names of their chains."""

    text: ChainText
    protocol: bytes | None


class ReadEndpoint(Struct, frozen=True):
    """An endpoint's chain taken apart: its form, and where it sends packets to. `remembers` if it writes into its set of
    clients."""

    form: bytes
    protocol: bytes
    place: bytes
    remembers: bool


class _Heads:
    """How the elements of a list begin that numbers them from 0."""

    def __init__(self, kind: bytes) -> None:
        self._kind = kind
        self._made: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        made = self._made
        while len(made) < count:
            made.append(b"%d, %b" % (len(made), self._kind))
        return made[:count]


class NftChainForms:
    """Forms of the chains in one table, each worked out once."""

    def __init__(self, family: Family) -> None:
        name = _FAMILIES[family]
        self._in_brackets = family is Family.IPV6
        self._key = re.compile(
            rb'\{"match": \{"op": "==", "left": \{"payload": \{"protocol": "%b", "field": "daddr"\}\}, "right": "(%b)"\}\}, '
            rb'\{"match": \{"op": "==", "left": \{"payload": \{"protocol": "(%b)", "field": "dport"\}\}, "right": (\d+)\}\}'
            % (name, _ADDRESS, _PROTOCOL)
        )
        self._remembered = re.compile(
            rb'\[\{"match": \{"op": "==", "left": \{"payload": \{"protocol": "%b", "field": "saddr"\}\}, '
            rb'"right": "@affinity-(%b)"\}\}, \{"goto": \{"target": "endpoint-(%b)"\}\}\]' % (name, _NAME, _NAME)
        )
        self._sending = re.compile(_L4PROTO + rb'\{"dnat": \{"family": "%b", "addr": \{"map": ' % name)
        self._places, self._chains = _Heads(b'{"concat": ["'), _Heads(b'{"goto": {"target": "endpoint-')
        self._forms: dict[tuple[bytes, ...], ChainForm | None] = {}

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Everything that stands in the forms seen so far."""
        return tuple(b"\n".join(lines) for lines, form in self._forms.items() if form is not None)

    def read(self, kind: bytes, rules: Sequence[bytes]) -> ReadChain | None:
        """Take the rules of a Service's chain apart, each the list of its statements; None if they have no form.

        `kind` is what its name begins with (`service-`).
        """
        lines: list[bytes] = [kind]
        remembered: list[bytes] = []
        endpoints: list[bytes] | None = None
        protocol: bytes | None = None
        links: list[bytes] = []
        keys: list[tuple[bytes, bytes, bytes]] = []
        for rule in rules:
            head, found, rest = rule.partition(_BALANCER)
            if found:
                shared = self._shared(head, rest)
                if shared is None or endpoints is not None:
                    return None
                endpoints, protocol = shared
                lines.append(head + b"\1")
                continue
            list_asked = self._remembered.fullmatch(rule)
            if list_asked is not None:
                if list_asked[1] != list_asked[2]:
                    return None
                remembered.append(list_asked[1])
                if lines[-1] != b"\0":
                    lines.append(b"\0")
                continue
            own = self._key.findall(rule)
            if own:
                keys += own
                rule = self._key.sub(b"\2", rule)
            if b'"target": "' in rule:
                links += LINK.findall(rule)
                rule = LINK.sub(b"\3", rule)
            lines.append(rule)
        if remembered and (remembered != endpoints or lines.count(b"\0") > 1):
            return None
        form = self._form(tuple(lines))
        if form is None:
            return None
        sent = NOT_SENT if not endpoints else None
        if endpoints and protocol is not None:
            sent = Sent(b"", protocol, b"\n".join(endpoints))
        return ReadChain(ChainText(form, tuple(endpoints or ()), tuple(links), tuple(keys), kind, sent), protocol)

    def _shared(self, head: bytes, rest: bytes) -> tuple[list[bytes], bytes | None] | None:
        """The endpoints of a rule that shares packets out evenly, and the protocol if it sends them there itself."""
        modulus, found, rest = rest.partition(_ELEMENTS)
        inner, end, tail = rest.partition(_END)
        elements = inner.split(b"], [")
        count = len(elements)
        if not found or not end or modulus != b"%d" % count:
            return None
        sending = self._sending.fullmatch(head)
        if sending is not None:
            heads = self._places.first(count)
            whole = tail == b"}}}}]" and inner.endswith(b"]}") and inner.count(b"]}], [") == count - 1
            if not whole or not all(map(bytes.startswith, elements, heads)):
                return None
            listed = [element[len(start) : -2] for element, start in zip(elements, heads, strict=True)]
            if self._in_brackets:
                text = (b"[" + b"\n[".join(listed)).replace(b'", ', b"]:")
            else:
                text = b"\n".join(listed).replace(b'", ', b":")
            return text.split(b"\n"), sending[1]
        heads = self._chains.first(count)
        whole = tail == b"}}]" and inner.endswith(b'"}}') and inner.count(b'"}}], [') == count - 1
        if head != b'[{"vmap": ' or not whole or not all(map(bytes.startswith, elements, heads)):
            return None
        return [element[len(start) : -3] for element, start in zip(elements, heads, strict=True)], None

    def _form(self, lines: tuple[bytes, ...]) -> ChainForm | None:
        if lines not in self._forms:
            plain = [line for line in lines[1:] if not line.endswith(b"\1")]
            whole = not any(_LEFT.search(line) for line in plain)
            self._forms[lines] = ChainForm(len(self._forms), (), (), True) if whole else None
        return self._forms[lines]


def read_endpoint(name: bytes, rules: Sequence[bytes]) -> ReadEndpoint | None:
    """Take the chain `endpoint-NAME` apart; None if it does anything but send packets to one place and remember clients."""
    last = _TRANSLATED.fullmatch(rules[-1])
    if last is None:
        return None
    head, protocol, address, port = last.groups()
    own_set = b'"@affinity-%b"' % name
    before = b"\n".join(rules[:-1]).replace(own_set, b"\0").replace(b'"right": "%b"' % address, b"\5")
    if _LEFT.search(before):
        return None
    place = b"[%b]:%b" % (address, port) if b":" in address else b"%b:%b" % (address, port)
    return ReadEndpoint(b"%b\n%b\4" % (before, head), protocol, place, b'"set": \0' in before)
