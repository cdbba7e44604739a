"""All checks, in the order of their codes."""

from __future__ import annotations

from kdiag.checks import (
    address_collision,
    affinity,
    base_jump_missing,
    bridge_netfilter_off,
    broken_chain,
    chains_flushed,
    cluster_cidr_wrong,
    cluster_dns_mismatch,
    cluster_ip_outside_range,
    conntrack_full,
    contradictory_slices,
    duplicate_pod_ip,
    endpoints_disagree_with_pods,
    endpoints_truncated,
    family_mismatch,
    foreign_rule,
    forward_policy,
    ip_forward_off,
    ipvs_address_left,
    leftover_rules_beside_replacement,
    local_detection,
    local_policy_without_local_endpoint,
    localnet_unguarded,
    manifest_refused,
    masquerade_missing,
    masquerade_needless,
    masquerade_rule_missing,
    mirrored_beside_controller_slice,
    missing_endpoint,
    missing_frontend,
    mode_leftovers,
    never_wrote,
    no_ready_endpoint,
    node_lacks_family,
    node_port_dispatch_missing,
    node_port_outside_range,
    node_port_taken,
    node_without_pod_cidr,
    not_refused,
    pod_cidr_collision,
    pod_ip_outside_range,
    port_name_mismatch,
    proxy_mode_mismatch,
    proxy_not_running,
    proxy_unhealthy,
    proxy_unlike_peers,
    range_nearly_full,
    range_overlap,
    refused,
    selector_matches_nothing,
    settings_disagree,
    source_ranges,
    stale_endpoint,
    stale_frontend,
    stale_node,
    sync_failing,
    target_port_undeclared,
    two_backends,
    unbalanced,
    wrong_port,
)
from kdiag.checks.interface import Check

CHECKS: tuple[Check, ...] = (
    range_overlap.CHECK,  # KD101
    cluster_ip_outside_range.CHECK,  # KD102
    pod_ip_outside_range.CHECK,  # KD103
    node_without_pod_cidr.CHECK,  # KD104
    pod_cidr_collision.CHECK,  # KD105
    duplicate_pod_ip.CHECK,  # KD106
    cluster_cidr_wrong.CHECK,  # KD107
    settings_disagree.CHECK,  # KD108
    range_nearly_full.CHECK,  # KD109
    cluster_dns_mismatch.CHECK,  # KD110
    address_collision.CHECK,  # KD111
    node_port_outside_range.CHECK,  # KD112
    missing_frontend.CHECK,  # KD201
    stale_frontend.CHECK,  # KD202
    missing_endpoint.CHECK,  # KD203
    stale_endpoint.CHECK,  # KD204
    wrong_port.CHECK,  # KD205
    unbalanced.CHECK,  # KD206
    refused.CHECK,  # KD207
    not_refused.CHECK,  # KD208
    foreign_rule.CHECK,  # KD209
    base_jump_missing.CHECK,  # KD210
    never_wrote.CHECK,  # KD211
    chains_flushed.CHECK,  # KD212
    masquerade_rule_missing.CHECK,  # KD213
    masquerade_missing.CHECK,  # KD214
    local_detection.CHECK,  # KD215
    masquerade_needless.CHECK,  # KD216
    two_backends.CHECK,  # KD217
    broken_chain.CHECK,  # KD218
    affinity.CHECK,  # KD219
    source_ranges.CHECK,  # KD220
    forward_policy.CHECK,  # KD221
    node_port_dispatch_missing.CHECK,  # KD222
    stale_node.CHECK,  # KD223
    leftover_rules_beside_replacement.CHECK,  # KD224
    mode_leftovers.CHECK,  # KD225
    ipvs_address_left.CHECK,  # KD226
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
    manifest_refused.CHECK,  # KD320
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
    node_lacks_family.CHECK,  # KD412
)
"""Every check, in the order of the codes. A new check is one file, one import and one line here."""
