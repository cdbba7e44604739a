"""Which plane a node runs, and what its rules tell of its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kdiag.model.addresses import Family, Network
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, ProxyMode, Version
from kdiag.model.rules import Rule, Ruleset
from kdiag.planes import PLANES
from kdiag.planes.interface import NodeEvidence, Plane

RULES_SOURCE = "the rules of most nodes"
NEVER: Version = (9, 0)


def plane_of(evidence: NodeEvidence, config: ProxyConfig | None) -> Plane | None:
    """The plane that the node's kube-proxy runs in; None if nothing shows one.

    A running proxy's own answer is the truth. Without one, what is in the kernel counts, the configured mode first;
    then what the log announced last; then the configuration (an empty mode is iptables on Linux).
    """
    by_mode = {plane.mode: plane for plane in PLANES}
    answered = _mode(evidence.host.proxy_mode_answer)
    if answered is not None:
        return by_mode[answered]
    stated = config.mode if config else None
    signed = [plane for plane in PLANES if plane.signs(evidence)]
    for plane in signed:
        if plane.mode is stated:
            return plane
    if signed:
        return signed[0]
    logged = _mode(evidence.host.log.proxier if evidence.host.log else None)
    if logged is not None:
        return by_mode[logged]
    if config is not None:
        return by_mode[stated or ProxyMode.IPTABLES]
    return None


def _mode(text: str | None) -> ProxyMode | None:
    try:
        return ProxyMode((text or "").strip().lower())
    except ValueError:
        return None


def assumed_release(server: Version | None, rulesets: Sequence[Ruleset]) -> Version | None:
    """The proxy's release where nothing states it: the API server's, as far as the chains in the rules allow it.

    A proxy may be three releases older than the API server. Which chains it writes tells its age:
    KUBE-XLB until 1.23, KUBE-EXT and KUBE-SVL from 1.24, KUBE-NODEPORTS and KUBE-PROXY-FIREWALL in the filter table from
    1.21 and 1.25.
    """
    if server is None:
        return None
    newest = NEVER
    for ruleset in rulesets:
        nat, packet_filter = ruleset.tables.get("nat"), ruleset.tables.get("filter")
        if nat is None or packet_filter is None or "KUBE-SERVICES" not in nat.chains:
            continue
        if any(name.startswith("KUBE-XLB-") for name in nat.chains):
            newest = min(newest, (1, 23))
        elif "KUBE-PROXY-FIREWALL" not in packet_filter.chains:
            newest = min(newest, (1, 24))
        if "KUBE-NODEPORTS" not in packet_filter.chains:
            newest = min(newest, (1, 20))
    return min(server, newest)


def config_from_rules(rulesets: Sequence[Ruleset]) -> ProxyConfig | None:
    """How local pods are told from others, as most rule sets show it. Used where no configuration says so."""
    seen: Counter[tuple[Family, str]] = Counter()
    networks: dict[str, Network] = {}
    unconditional = 0
    conditional = 0
    for ruleset in rulesets:
        found: set[str] = set()
        for rule in _cluster_ip_masquerade_rules(ruleset):
            text = _named_pods(rule, networks, negated=True)
            if text is None:
                unconditional += 1
                continue
            conditional += 1
            found.add(text)
        for rule in _short_cut_rules(ruleset):
            text = _named_pods(rule, networks, negated=False)
            if text is not None:
                found.add(text)
        seen.update((ruleset.family, text) for text in found)
    chosen = [_most_seen(seen, family) for family in Family]
    texts = [text for text in chosen if text is not None]
    interface = next((text.removeprefix("-i ") for text in texts if text.startswith("-i ")), None)
    if not texts and not unconditional:
        return None
    if interface is not None:
        prefix = interface.endswith("+")
        return ProxyConfig(
            source=RULES_SOURCE,
            detect_local_mode=DetectLocalMode.INTERFACE_NAME_PREFIX if prefix else DetectLocalMode.BRIDGE_INTERFACE,
            bridge_interface=None if prefix else interface,
            interface_name_prefix=interface.removesuffix("+") if prefix else None,
        )
    return ProxyConfig(
        source=RULES_SOURCE,
        cluster_cidrs=tuple(networks[text] for text in texts),
        masquerade_all=unconditional > conditional,
    )


def _most_seen(seen: Counter[tuple[Family, str]], family: Family) -> str | None:
    mine = {text: count for (of, text), count in seen.items() if of is family}
    return min(mine, key=lambda text: (-mine[text], text)) if mine else None


def _named_pods(rule: Rule, networks: dict[str, Network], *, negated: bool) -> str | None:
    """The range or the interface by which a rule names pods (`! -s RANGE` if negated); its network is noted."""
    if rule.source is not None and rule.source.negated is negated and rule.source.networks:
        network = rule.source.networks[0]
        networks[str(network)] = network
        return str(network)
    if rule.in_interface is not None and rule.in_interface.negated is negated:
        return f"-i {rule.in_interface.name}"
    return None


def _cluster_ip_masquerade_rules(ruleset: Ruleset) -> Iterable[Rule]:
    """The rules that masquerade what comes to a ClusterIP and is not from a pod."""
    nat = ruleset.tables.get("nat")
    for chain in nat.chains.values() if nat else ():
        if chain.name == "KUBE-SERVICES" or chain.name.startswith(("KUBE-SVC-", "KUBE-SVL-")):
            for rule in chain.rules:
                if (
                    rule.target == "KUBE-MARK-MASQ"
                    and rule.destination is not None
                    and "cluster IP" in (rule.comment or "")
                ):
                    yield rule


def _short_cut_rules(ruleset: Ruleset) -> Iterable[Rule]:
    """The rules that send pods past a Local policy. With masqueradeAll they alone tell how pods are known."""
    nat = ruleset.tables.get("nat")
    for chain in nat.chains.values() if nat else ():
        if chain.name.startswith(("KUBE-EXT-", "KUBE-XLB-")):
            for rule in chain.rules:
                if (rule.target or "").startswith("KUBE-SVC-"):
                    yield rule
