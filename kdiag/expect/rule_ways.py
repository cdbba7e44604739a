"""The ways of packets in iptables and nftables mode.

The matrix of policies, releases and client positions, as outcomes. Sources: pkg/proxy/iptables/proxier.go of 1.16 to 1.36
and pkg/proxy/nftables/proxier.go of 1.29 to 1.36 (which rules are written) read for what they do to a packet.
"""

from __future__ import annotations

from kdiag.expect.selection import uses_local_externally, uses_local_internally
from kdiag.expect.situation import DROP, PASS, REJECT, Situation, Way
from kdiag.model.dataplane import FrontendKind, Position
from kdiag.model.proxy import ProxyMode


def rule_ways(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    """The legal ways for clients that the detector takes for pods or not, inside the source ranges or not."""
    if situation.target.kind is FrontendKind.CLUSTER_IP:
        return _internal(situation, is_pod=is_pod)
    return _external(situation, is_pod=is_pod, in_ranges=in_ranges)


def _internal(situation: Situation, *, is_pod: bool) -> tuple[Way, ...]:
    rules, selection = situation.rules, situation.selection
    masquerade = situation.masquerade_all or (situation.detector.works and not is_pod)
    if not selection.has_any:
        # FORWARD has been sent to KUBE-SERVICES since 1.18; before, only the node itself was refused.
        old = rules.version < (1, 18) and situation.position is not Position.NODE
        return (REJECT, PASS) if old else (REJECT, *_unready_bug(situation))
    if uses_local_internally(situation.service, rules) and rules.version >= (1, 24):
        if not selection.local:
            return (DROP,) if rules.version >= (1, 25) else (DROP, PASS)
        return (Way(endpoints=selection.local, masquerade=masquerade),)
    return (Way(endpoints=selection.cluster, masquerade=masquerade),)


def _unready_bug(situation: Situation) -> tuple[Way, ...]:
    # 1.22.0 counted unready endpoints (kubernetes PR 106030): no reject, and an empty chain, or the drop that ends
    # KUBE-XLB and KUBE-FW.
    if situation.rules.version != (1, 22):
        return ()
    return (PASS,) if situation.target.kind is FrontendKind.CLUSTER_IP else (PASS, DROP)


def _external(situation: Situation, *, is_pod: bool, in_ranges: bool) -> tuple[Way, ...]:
    rules, selection, position = situation.rules, situation.selection, situation.position
    version = rules.version
    # Up to 1.24 the drop is left to a mark that kubelet's rules act upon, and newer kubelets write none.
    dropped = (DROP,) if version >= (1, 25) else (DROP, PASS)
    if rules.mode is ProxyMode.NFTABLES:
        # The source ranges are looked at first, and chain filter-output asks for all addresses without endpoints.
        if not in_ranges:
            return (DROP,)
        if not selection.has_any:
            return (REJECT,)
    if not selection.has_any:
        # KUBE-EXTERNAL-SERVICES is not reached from OUTPUT: the node's own packet leaves as it is.
        if position is Position.NODE and not situation.target_is_local:
            return (PASS,)
        old = version <= (1, 18) and not situation.target_is_local
        return (REJECT, PASS) if old else (REJECT, *_unready_bug(situation))
    if not in_ranges:
        return dropped
    local_policy = uses_local_externally(situation.service, version)
    if version <= (1, 21) and situation.target.kind is FrontendKind.EXTERNAL_IP:
        return _old_external_ip(situation, local_policy=local_policy, is_pod=is_pod)
    if local_policy:
        return _local_policy(situation, is_pod=is_pod, dropped=dropped)
    masquerade = True
    if version <= (1, 23) and situation.target.kind is FrontendKind.EXTERNAL_IP:
        masquerade = not (situation.detector.works and is_pod)
    return (Way(endpoints=selection.cluster, masquerade=masquerade),)


def _local_policy(situation: Situation, *, is_pod: bool, dropped: tuple[Way, ...]) -> tuple[Way, ...]:
    selection = situation.selection
    if situation.detector.works and is_pod:
        return (Way(endpoints=selection.cluster),)
    if situation.position is Position.NODE:
        return (Way(endpoints=selection.cluster, masquerade=True),)
    if selection.local:
        return (Way(endpoints=selection.local),)
    return dropped


def _old_external_ip(situation: Situation, *, local_policy: bool, is_pod: bool) -> tuple[Way, ...]:
    """Up to 1.20 a bridged pod and the node itself do not reach an external IP that is not the node's own."""
    selection = situation.selection
    elsewhere = situation.rules.version <= (1, 20) and not situation.target_is_local
    if elsewhere and situation.position is Position.NODE:
        return (PASS,)
    found = [Way(endpoints=selection.cluster, masquerade=True)]
    if situation.rules.version == (1, 21) and is_pod:
        found.append(Way(endpoints=selection.cluster))
    if local_policy:
        found += _local_policy(situation, is_pod=is_pod, dropped=(DROP, PASS))
    if elsewhere and situation.position is Position.POD:
        found.append(PASS)
    return tuple(found)
