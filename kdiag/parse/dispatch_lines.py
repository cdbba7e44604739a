"""Rules of chains that have one for each address of a Service, with what is the Service's own taken out."""

from __future__ import annotations

import re
from typing import NamedTuple

from kdiag.parse.chain_merge import Span
from kdiag.parse.iptables_forms import COMMENT, ENDPOINT_KIND, LINK

Key = tuple[bytes, bytes, bytes]
"""Address (empty: a NodePort), protocol and port, as iptables prints them."""

# Chains with a rule for each address. Those without an address are for NodePorts.
DISPATCH = {
    (b"nat", b"KUBE-SERVICES"): False,
    (b"nat", b"KUBE-NODEPORTS"): True,
    (b"filter", b"KUBE-SERVICES"): False,
    (b"filter", b"KUBE-EXTERNAL-SERVICES"): True,
    (b"filter", b"KUBE-PROXY-FIREWALL"): False,
}

_DISPATCHED = re.compile(
    rb"-A [A-Z-]+ (.*?)(?:-d ([0-9a-f.:]+)/(?:32|128) )?-p (tcp|udp|sctp)(.*?) -m \3 --dport (\d+)( .*)?"
)

# As most lines are: nothing else in them than where to, and a comment.
_USUAL = re.compile(
    rb"-A KUBE-SERVICES -d ([0-9a-f.:]+)/(?:32|128) -p (tcp|udp|sctp)(?:"
    + COMMENT.pattern
    + rb")? -m \2 --dport (\d+) -j (KUBE-(?:SVC|EXT)-[A-Z2-7]{16})"
)


class DispatchLine(NamedTuple):
    """A rule of a dispatch chain: where it stands, and what is left of it without the key and comments.

    `behind` counts the rules of the rest that stand before it in its chain. `links` are the Services' chains that it
    names, in `text` each is `\\3`.
    """

    span: Span
    table: bytes
    chain: bytes
    behind: int
    text: bytes
    links: tuple[bytes, ...]

    @property
    def form(self) -> tuple[object, ...]:
        """All of it but where it stands and the names."""
        return self[1:5]


def read_line(raw: bytes, without_address: bool) -> tuple[Key, bytes, tuple[bytes, ...]] | None:
    """Key, text and links of a dispatch line; None if it is for no address of a Service."""
    usual = _USUAL.fullmatch(raw)
    if usual is not None:
        address, protocol, port, link = usual.groups()
        return (address, protocol, port), b"\2 -j \3", (link,)
    plain = COMMENT.sub(b"", raw)
    found = _DISPATCHED.fullmatch(plain)
    if found is None or not (found[2] is not None or without_address) or ENDPOINT_KIND in plain:
        return None
    before, address, protocol, between, port, after = found.groups(b"")
    text = b"%b\2%b%b" % (before, between, LINK.sub(b"\3", after))
    return (address, protocol, port), text, tuple(LINK.findall(after))
