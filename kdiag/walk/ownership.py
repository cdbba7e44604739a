"""Whose a chain or a rule is: kube-proxy's and kubelet's, or somebody else's."""

from __future__ import annotations

import re

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Effect
from kdiag.model.rules import Rule

PROXY_CHAINS = frozenset(
    "KUBE-SERVICES KUBE-EXTERNAL-SERVICES KUBE-NODEPORTS KUBE-POSTROUTING KUBE-MARK-MASQ KUBE-MARK-DROP KUBE-FORWARD "
    "KUBE-PROXY-FIREWALL KUBE-FIREWALL KUBE-PROXY-CANARY KUBE-KUBELET-CANARY KUBE-IPTABLES-HINT "
    # IPVS mode, then userspace mode.
    "KUBE-NODE-PORT KUBE-LOAD-BALANCER KUBE-SOURCE-RANGES-FIREWALL KUBE-IPVS-FILTER KUBE-IPVS-OUT-FILTER "
    "KUBE-PORTALS-CONTAINER KUBE-PORTALS-HOST KUBE-NODEPORT-CONTAINER KUBE-NODEPORT-HOST KUBE-NODEPORT-NON-LOCAL".split()
)
# nftables mode: `service-NWBZK7IH-kube-system/kube-dns/tcp/dns-tcp`.
_NFT_OF_SERVICE = re.compile(r"(?:service|local|external|firewall)-[A-Z2-7]{8}-")
_NFT_OF_ENDPOINT = re.compile(r"endpoint-[A-Z2-7]{8}-")
NFT_TABLE = "kube-proxy"
NFT_FAMILIES = {Family.IPV4: "ip", Family.IPV6: "ip6"}
"""The families of kube-proxy's tables, as nft calls them."""
IPTABLES_TABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})
"""What iptables-nft keeps its rules in: `iptables-save` prints them in full, `nft list ruleset` does not."""
IPVS_TABLE = "ipvs"
"""What the table of virtual servers is called beside those of rules."""
# The chains in which addresses and ports of Services are looked up.
_DISPATCH = frozenset(
    "KUBE-SERVICES KUBE-NODEPORTS KUBE-EXTERNAL-SERVICES KUBE-PORTALS-CONTAINER KUBE-PORTALS-HOST KUBE-NODEPORT-CONTAINER "
    "KUBE-NODEPORT-HOST".split()
)
_NFT_DISPATCH = frozenset(
    "services service-endpoints-check nodeport-endpoints-check endpoints-check firewall-check firewall-allow-check".split()
)
VIRTUAL_SERVERS = "virtual servers"
PROXY_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-XLB-", "KUBE-FW-")


def is_proxy_chain(name: str) -> bool:
    """True for a chain that kube-proxy or kubelet writes in iptables mode (exact names: kube-router shares `KUBE-`)."""
    return name in PROXY_CHAINS or name.startswith(PROXY_PREFIXES)


def is_service_chain(name: str | None) -> bool:
    """True for a chain that belongs to one Service port, and for those of its endpoints."""
    if name is None:
        return False
    return name.startswith(PROXY_PREFIXES) or bool(_NFT_OF_SERVICE.match(name)) or is_endpoint_chain(name)


def is_endpoint_chain(name: str | None) -> bool:
    """True for a chain that belongs to one endpoint of one Service port."""
    return name is not None and (name.startswith("KUBE-SEP-") or bool(_NFT_OF_ENDPOINT.match(name)))


def is_dispatch(table: str, chain: str) -> bool:
    """True for a chain in which the addresses of Services are looked up, in any mode."""
    if table.partition(" ")[2] == NFT_TABLE:
        return chain in _NFT_DISPATCH
    return chain in _DISPATCH or chain == VIRTUAL_SERVERS


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
    if "set" in modules or chain == "KUBE-SOURCE-RANGES-FIREWALL":
        return False
    if rule.table == "nat":
        match rule.target:
            case "DNAT" | "REDIRECT":
                return not chain.startswith(("KUBE-SEP-", "KUBE-PORTALS-", "KUBE-NODEPORT-"))
            case "RETURN":
                return "mark" not in modules and rule.source is None
            case "ACCEPT" | "DROP" | "REJECT":
                return True
            case _:
                return False
    decides = rule.target in ("ACCEPT", "DROP", "REJECT", "RETURN")
    named = rule.destination is not None or any(option.name == "dport" for option in rule.matches)
    return decides and not named and not modules & {"mark", "conntrack", "state"}


_NFT_REFUSING = ("reject-chain", "cluster-ips-check", "forward", "firewall-allow-check", "mark-for-masquerade")


def is_foreign_in_nft(chain: str, effect: Effect) -> bool:
    """True for a rule in table kube-proxy that decides where kube-proxy's never do (pkg/proxy/nftables/proxier.go)."""
    match effect:
        case Effect.ACCEPT | Effect.UNTRACK | Effect.OTHER:
            return True
        case Effect.DROP | Effect.REJECT:
            return not (chain in _NFT_DISPATCH or chain in _NFT_REFUSING or chain.startswith("firewall-"))
        case Effect.RETURN:
            return chain != "masquerading" and chain not in _NFT_REFUSING
        case Effect.TRANSLATE:
            return not chain.startswith(("service-", "local-", "endpoint-"))
        case _:
            return False
