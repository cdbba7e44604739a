"""The ways of packets in userspace mode (up to 1.25): every Service address leads to the proxy process.

Source: pkg/proxy/userspace/proxier.go of 1.16 to 1.25. Policies, source ranges and endpoints are not in the rules.
"""

from __future__ import annotations

from kdiag.expect.situation import PASS, Situation, Way
from kdiag.model.dataplane import FrontendKind, Position

TO_PROXY = Way(to_proxy=True)


def userspace_ways(situation: Situation) -> tuple[Way, ...]:
    """The legal ways, the same for all clients of a position."""
    if situation.target.kind is FrontendKind.EXTERNAL_IP and not situation.target_is_local:
        # Bridged pods and the node itself do not reach an external IP that is not the node's own.
        if situation.position is Position.NODE:
            return (PASS,)
        return (TO_PROXY, PASS) if situation.position is Position.POD else (TO_PROXY,)
    return (TO_PROXY,)
