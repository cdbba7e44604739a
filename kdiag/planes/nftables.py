"""kube-proxy's nftables mode: recognised; its rules are not read yet."""

from __future__ import annotations

import re

from kdiag.model.proxy import ProxyMode
from kdiag.planes.interface import NodeEvidence, Plane

# `table ip kube-proxy {` in text, {"table": {"family": "ip", "name": "kube-proxy", …}} in JSON.
_TABLE = re.compile(rb'table ip6? kube-proxy\b|"name":\s*"kube-proxy"|"table":\s*"kube-proxy"')


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    return tuple(
        f"table kube-proxy in {evidence.probes[probe].source}"
        for probe in PLANE.probes
        if probe in evidence.probes and _TABLE.search(evidence.probes[probe].content)
    )


PLANE = Plane(mode=ProxyMode.NFTABLES, probes=("nft-j-list-ruleset", "nft-list-ruleset"), signs=_signs)
