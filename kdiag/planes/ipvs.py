"""kube-proxy's IPVS mode: recognised; its virtual servers are not read yet."""

from __future__ import annotations

from kdiag.model.proxy import ProxyMode
from kdiag.planes.interface import NodeEvidence, Plane


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    found = []
    on_device = [item for item in evidence.host.addresses or () if item.interface == "kube-ipvs0"]
    if on_device:
        found.append(f"{len(on_device)} addresses on kube-ipvs0")
    if any(line.startswith("-A ") for line in _servers(evidence)):
        found.append("virtual servers")
    return tuple(found)


def _servers(evidence: NodeEvidence) -> list[str]:
    recording = evidence.probes.get("ipvsadm-save-n")
    return recording.text().splitlines() if recording else []


PLANE = Plane(mode=ProxyMode.IPVS, probes=("ipvsadm-save-n", "ipset-save", "ip-addr", "iptables-save"), signs=_signs)
