"""Data planes: one file each, and the registry of them in reading order."""

from kdiag.planes import iptables, ipvs, nftables, userspace
from kdiag.planes.interface import Plane

PLANES: tuple[Plane, ...] = (
    iptables.PLANE,
    nftables.PLANE,
    ipvs.PLANE,
    userspace.PLANE,
)
