"""All checks, in the order of their codes."""

from __future__ import annotations

from kdiag.checks import (
    bridge_netfilter_off,
    conntrack_full,
    contradictory_slices,
    endpoints_disagree_with_pods,
    endpoints_truncated,
    family_mismatch,
    ip_forward_off,
    local_policy_without_local_endpoint,
    localnet_unguarded,
    mirrored_beside_controller_slice,
    no_ready_endpoint,
    node_port_taken,
    port_name_mismatch,
    proxy_mode_mismatch,
    proxy_not_running,
    proxy_unhealthy,
    proxy_unlike_peers,
    selector_matches_nothing,
    sync_failing,
    target_port_undeclared,
)
from kdiag.checks.interface import Check

CHECKS: tuple[Check, ...] = (
    selector_matches_nothing.CHECK,  # KD301
    no_ready_endpoint.CHECK,  # KD302
    target_port_undeclared.CHECK,  # KD303
    endpoints_disagree_with_pods.CHECK,  # KD304
    mirrored_beside_controller_slice.CHECK,  # KD305
    endpoints_truncated.CHECK,  # KD306
    local_policy_without_local_endpoint.CHECK,  # KD307
    family_mismatch.CHECK,  # KD308
    contradictory_slices.CHECK,  # KD309
    port_name_mismatch.CHECK,  # KD310
    proxy_not_running.CHECK,  # KD401
    proxy_unhealthy.CHECK,  # KD402
    proxy_mode_mismatch.CHECK,  # KD403
    proxy_unlike_peers.CHECK,  # KD404
    ip_forward_off.CHECK,  # KD406
    bridge_netfilter_off.CHECK,  # KD407
    node_port_taken.CHECK,  # KD408
    sync_failing.CHECK,  # KD409
    localnet_unguarded.CHECK,  # KD410
    conntrack_full.CHECK,  # KD411
)
"""Every check, in the order of the codes. A new check is one file, one import and one line here."""
