"""What the rules of nftables that are no Service's tell apart: the text in which addresses and ports are looked for."""

from __future__ import annotations

import re

from kdiag.parse.nft_elements import ADDRESS_MAPS, CLUSTER_IPS, HAIRPINS, PORT_MAPS

_DADDR = rb'\{"payload": \{"protocol": "(?:ip|ip6)", "field": "daddr"\}\}'
_SADDR = rb'\{"payload": \{"protocol": "(?:ip|ip6)", "field": "saddr"\}\}'
_PROTO_PORT = rb'\{"meta": \{"key": "l4proto"\}\}, \{"payload": \{"protocol": "th", "field": "dport"\}\}'
# How the sets and maps that are taken apart are asked. Where another rule names one, it may be asked by anything.
_ASKED = {
    **{
        name: re.compile(rb'\{"concat": \[%b, %b\]\}, "data": "@%b"' % (_DADDR, _PROTO_PORT, name.encode()))
        for name in ADDRESS_MAPS
    },
    **{name: re.compile(rb'\{"concat": \[%b\]\}, "data": "@%b"' % (_PROTO_PORT, name.encode())) for name in PORT_MAPS},
    CLUSTER_IPS: re.compile(rb'"op": "[!=]=", "left": %b, "right": "@cluster-ips"' % _DADDR),
    HAIRPINS: re.compile(
        rb'"op": "==", "left": \{"concat": \[%b, %b, %b\]\}, "right": "@hairpin-connections"'
        % (_SADDR, _DADDR, _PROTO_PORT)
    ),
}
# What tells addresses and ports apart in a way that no address and no port in its text shows: bits of them, or a value
# that is put into a mark; and what sends packets to another port, or anywhere.
_HIDING = re.compile(
    rb'"(?:[&|^]|<<|>>)": \[\{"(?:payload|ct)": \{(?!"protocol": "tcp", "field": "flags"|"key": "(?:mark|state|status)"\})'
    rb'|"value": \{"(?:payload|ct|map|concat)"'
    rb'|"(?:dnat|redirect)": (?!\{(?:"family": "ip6?", )?(?:"addr"|\x04))'
)
_ASIDE = re.compile(rb', "(?:handle|prio)": -?\d+')
_SERVICE_NAMES = {b'"http"': b" 80 ", b'"https"': b" 443 ", b'"domain"': b" 53 ", b'"ssh"': b" 22 "}
_PREFIX = re.compile(rb'"addr":\s*"([0-9a-fA-F.:]+)",\s*"len":\s*(\d+)')


def prefixes_spelled(content: bytes) -> bytes:
    """What nft printed, and the prefixes of its JSON as text (`10.0.0.0/8`)."""
    return b"\n".join([content, *(b"%b/%b" % found for found in _PREFIX.findall(content))])


def spelled(content: bytes) -> bytes:
    """A part of the dump in which addresses and ports are found as in rules written out, without numbers that are
    neither."""
    text = prefixes_spelled(_ASIDE.sub(b"", content))
    return text + b"".join(number for name, number in _SERVICE_NAMES.items() if name in content)


def asked_as_ever(text: bytes) -> bool:
    """True if rules ask the sets that are taken apart by the address and port that a packet is sent to, and nothing in
    them hides what it tells apart."""
    if _HIDING.search(text):
        return False
    return all(text.count(b"@" + name.encode()) == len(pattern.findall(text)) for name, pattern in _ASKED.items())
