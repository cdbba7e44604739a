"""kube-proxy's userspace mode (up to 1.25): recognised; its portals are not read yet."""

from __future__ import annotations

from kdiag.model.proxy import ProxyMode
from kdiag.planes.interface import NodeEvidence, Plane

PORTALS = ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST")


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    return tuple(
        f"chain {name} in {ruleset.source}"
        for ruleset in evidence.rulesets
        for name in PORTALS
        if (chain := ruleset.chain("nat", name)) is not None and chain.rules
    )


PLANE = Plane(mode=ProxyMode.USERSPACE, probes=("iptables-save", "ip6tables-save"), signs=_signs)
