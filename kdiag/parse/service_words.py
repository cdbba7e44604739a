"""What the rules of Services are made of, wherever they stand: keys, names of chains, comments, and where endpoints' chains lead."""

from __future__ import annotations

import re

from msgspec import Struct

Key = tuple[bytes, bytes, bytes]
"""Address (empty: a NodePort), protocol and port, as iptables prints them."""

COMMENT = re.compile(rb' -m comment --comment (?:"(?:[^"\\\n]++|\\.)*+"|[^"\s]++)')
LINK = re.compile(rb"KUBE-(?:EXT|FW|SVC|SVL|XLB)-[A-Z2-7]{16}")
ENDPOINT_KIND = b"KUBE-SEP-"
"""What the names of endpoints' chains begin with."""
HASH_LENGTH = 16


class Sent(Struct, frozen=True, gc=False):
    """Where the chains of some endpoints send packets to, one place a line in their order (`10.244.1.5:8080`), and the form
    of these chains."""

    form: bytes
    protocol: bytes
    places: bytes


NOT_SENT = Sent(b"", b"", b"")
"""Of chains without endpoints."""
