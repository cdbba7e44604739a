"""All checks, in the order of their codes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from kdiag.checks.interface import Check

SLUGS: Mapping[str, str] = {
    "KD101": "range-overlap",
    "KD102": "cluster-ip-outside-range",
    "KD103": "pod-ip-outside-range",
    "KD104": "node-without-pod-cidr",
    "KD105": "pod-cidr-collision",
    "KD106": "duplicate-pod-ip",
    "KD107": "cluster-cidr-wrong",
    "KD108": "settings-disagree",
    "KD109": "range-nearly-full",
    "KD110": "cluster-dns-mismatch",
    "KD111": "address-collision",
    "KD112": "node-port-outside-range",
    "KD201": "missing-frontend",
    "KD202": "stale-frontend",
    "KD203": "missing-endpoint",
    "KD204": "stale-endpoint",
    "KD205": "wrong-port",
    "KD206": "unbalanced",
    "KD207": "refused",
    "KD208": "not-refused",
    "KD209": "foreign-rule",
    "KD210": "base-jump-missing",
    "KD211": "never-wrote",
    "KD212": "chains-flushed",
    "KD213": "masquerade-rule-missing",
    "KD214": "masquerade-missing",
    "KD215": "local-detection",
    "KD216": "masquerade-needless",
    "KD217": "two-backends",
    "KD218": "broken-chain",
    "KD219": "affinity",
    "KD220": "source-ranges",
    "KD221": "forward-policy",
    "KD222": "node-port-dispatch-missing",
    "KD223": "stale-node",
    "KD224": "leftover-rules-beside-replacement",
    "KD225": "mode-leftovers",
    "KD226": "ipvs-address-left",
    "KD301": "selector-matches-nothing",
    "KD302": "no-ready-endpoint",
    "KD303": "target-port-undeclared",
    "KD304": "endpoints-disagree-with-pods",
    "KD305": "mirrored-beside-controller-slice",
    "KD306": "endpoints-truncated",
    "KD307": "local-policy-without-local-endpoint",
    "KD308": "family-mismatch",
    "KD309": "contradictory-slices",
    "KD310": "port-name-mismatch",
    "KD320": "manifest-refused",
    "KD401": "proxy-not-running",
    "KD402": "proxy-unhealthy",
    "KD403": "proxy-mode-mismatch",
    "KD404": "proxy-unlike-peers",
    "KD406": "ip-forward-off",
    "KD407": "bridge-netfilter-off",
    "KD408": "node-port-taken",
    "KD409": "sync-failing",
    "KD410": "localnet-unguarded",
    "KD411": "conntrack-full",
    "KD412": "node-lacks-family",
}
"""The slug of every check by its code, in the order of the codes. A new check is one file and one line here.

The module of `stale-endpoint` is `stale_endpoint`. It is not imported here: a command that runs one family should not have
to load the others.
"""


@cache
def check_of(code: str) -> Check:
    """The check with this code, which must be one of SLUGS."""
    check: Check = import_module(f"kdiag.checks.{SLUGS[code].replace('-', '_')}").CHECK
    return check


def all_checks() -> tuple[Check, ...]:
    """Every check, in the order of the codes."""
    return tuple(check_of(code) for code in SLUGS)
