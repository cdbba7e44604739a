"""Whose a chain or a rule is: kube-proxy's and kubelet's, or somebody else's."""

from __future__ import annotations

from kdiag.model.rules import Rule

PROXY_CHAINS = frozenset(
    "KUBE-SERVICES KUBE-EXTERNAL-SERVICES KUBE-NODEPORTS KUBE-POSTROUTING KUBE-MARK-MASQ KUBE-MARK-DROP KUBE-FORWARD "
    "KUBE-PROXY-FIREWALL KUBE-FIREWALL KUBE-PROXY-CANARY KUBE-KUBELET-CANARY KUBE-IPTABLES-HINT".split()
)
PROXY_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-XLB-", "KUBE-FW-")


def is_proxy_chain(name: str) -> bool:
    """True for a chain that kube-proxy or kubelet writes in iptables mode (exact names: kube-router shares `KUBE-`)."""
    return name in PROXY_CHAINS or name.startswith(PROXY_PREFIXES)


def is_foreign(chain: str, rule: Rule | None) -> bool:
    """True for a rule, or a policy (None), that neither kube-proxy nor kubelet writes.

    In the chains of kube-proxy a rule is somebody else's if it decides where kube-proxy's never do: in nat these only
    jump, mark, masquerade, and translate in KUBE-SEP-…; in filter they name an address, a port, a mark or a state
    (pkg/proxy/iptables/proxier.go). IPVS mode's rules go by ipset.
    """
    if not is_proxy_chain(chain):
        return rule is None or not is_proxy_chain(rule.target or "")
    if rule is None or rule.target is None:
        return False
    modules = {option.module for option in rule.matches}
    if "set" in modules:
        return False
    if rule.table == "nat":
        match rule.target:
            case "DNAT" | "REDIRECT":
                # kube-proxy's userspace mode aside, whose chains are not these.
                return not chain.startswith("KUBE-SEP-")
            case "RETURN":
                return "mark" not in modules and rule.source is None
            case "ACCEPT" | "DROP" | "REJECT":
                return True
            case _:
                return False
    decides = rule.target in ("ACCEPT", "DROP", "REJECT", "RETURN")
    named = rule.destination is not None or any(option.name == "dport" for option in rule.matches)
    return decides and not named and not modules & {"mark", "conntrack", "state"}
