"""What looks like a fault and is none, each beside the fault that it looks like.

The left edit of node01's dump must stay without any difference; the right one must be found, by its cause.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from msgspec import structs

from kdiag.model.difference import CauseKind, Comparison
from kdiag.model.report import GapKind, Severity
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster, variant

NODE = "node01"
NEW, OLD = "v1.36.2-iptables-nft", "v1.20.2-iptables-nft"
Edit = Callable[[str], str]


# -- edits of a dump -----------------------------------------------------------------------------------------------


def adding(*rules: str, table: str = "nat", chains: tuple[str, ...] = (), last: bool = False) -> Edit:
    """Insert rules before all others of their table (or after them), and declare chains."""

    def edit(text: str) -> str:
        head, mark, rest = text.partition(f"*{table}\n")
        if not mark:
            builtin = {"raw": ("PREROUTING", "OUTPUT"), "mangle": ("PREROUTING", "FORWARD", "OUTPUT")}[table]
            hooks = "".join(f":{item} ACCEPT [0:0]\n" for item in builtin)
            return edit(f"*{table}\n{hooks}COMMIT\n" + text)
        body, commit, tail = rest.partition("COMMIT\n")
        lines = body.splitlines(keepends=True)
        first = next((i for i, line in enumerate(lines) if line.startswith("-A ")), len(lines))
        own = [f"{rule}\n" for rule in rules]
        declared = [f":{item} - [0:0]\n" for item in chains]
        placed = [*lines, *own] if last else [*lines[:first], *own, *lines[first:]]
        return head + mark + "".join([*declared, *placed]) + commit + tail

    return edit


def both(*edits: Edit) -> Edit:
    def edit(text: str) -> str:
        for item in edits:
            text = item(text)
        return text

    return edit


def replacing(old: str, new: str, *, every: bool = False) -> Edit:
    def edit(text: str) -> str:
        assert text.count(old) == 1 or (every and old in text), f"{text.count(old)} times: {old}"
        return text.replace(old, new)

    return edit


def matching(pattern: str, new: str) -> Edit:
    def edit(text: str) -> str:
        return re.sub(pattern, new, text, flags=re.MULTILINE)

    return edit


def policy(chain: str, table: str = "filter") -> Edit:
    def edit(text: str) -> str:
        head, mark, rest = text.partition(f"*{table}\n")
        return head + mark + rest.replace(f":{chain} ACCEPT", f":{chain} DROP", 1)

    return edit


# -- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A near miss and the fault beside it. `unclear`: the near miss may be "cannot tell", but no difference."""

    near_miss: Edit
    fault: Edit
    cause: CauseKind
    base: str = NEW
    unclear: bool = False


SERVICES_JUMP = '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
FORWARD_JUMP = '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD\n'
NODE_PORT_RULE = (
    "-A KUBE-SERVICES -m comment --comment "
    '"kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
    "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
)
VIP = "10.101.67.139"
SVC, SEP = "KUBE-SVC-NVB4OINXP3DZTSXQ", "KUBE-SEP-JNE6DYGPUE67GEDY"
MASQUERADE = '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE'
BEARER = (
    "-A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN",
    "-A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
)


def per_address(*addresses: str) -> Edit:
    """The NodePort dispatch that nodePortAddresses makes: one rule for each address."""
    lines = "".join(
        NODE_PORT_RULE.replace("-A KUBE-SERVICES", f"-A KUBE-SERVICES -d {item}/32").replace(
            " -m addrtype --dst-type LOCAL", ""
        )
        for item in addresses
    )
    return replacing(NODE_PORT_RULE, lines)


def calico(verdict: str) -> Edit:
    """Felix' chains for one workload, whose policy asks an ipset."""
    return adding(
        '-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD',
        '-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000',
        "-A cali-FORWARD -m mark --mark 0x0/0x10000 -j cali-from-hep-forward",
        "-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch",
        "-A cali-FORWARD -o cni0 -j cali-to-wl-dispatch",
        "-A cali-to-wl-dispatch -d 10.244.1.3/32 -g cali-tw-cali1",
        "-A cali-to-wl-dispatch -d 10.244.1.10/32 -g cali-tw-cali1",
        "-A cali-tw-cali1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A cali-tw-cali1 -m conntrack --ctstate INVALID -j DROP",
        "-A cali-tw-cali1 -j MARK --set-xmark 0x0/0x10000",
        f"-A cali-tw-cali1 -m set {'! ' if verdict == 'DROP' else ''}--match-set cali40s:sources src -j {verdict}",
        table="filter",
        chains=(
            "cali-FORWARD",
            "cali-from-hep-forward",
            "cali-from-wl-dispatch",
            "cali-to-wl-dispatch",
            "cali-tw-cali1",
        ),
    )


def kube_router(*, drops: bool) -> Edit:
    """kube-router's chain for each local pod: traffic without the mark of an allowing policy is rejected."""
    chains, rules = ["KUBE-ROUTER-FORWARD"], ["-A FORWARD -j KUBE-ROUTER-FORWARD"]
    for index, last in enumerate((3, 10, 11, 40, 41, 50, 51, 52, 53)):
        chain = f"KUBE-POD-FW-{index:016d}"
        chains += [chain, f"KUBE-NWPLCY-{index:016d}"]
        rules += [
            f"-A KUBE-ROUTER-FORWARD -d 10.244.1.{last}/32 -j {chain}",
            f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A {chain} -j KUBE-NWPLCY-{index:016d}",
            f"-A {chain} -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable",
            f"-A {chain} -j MARK --set-xmark 0x0/0x10000",
        ]
        if not drops:
            rules.append(
                f"-A KUBE-NWPLCY-{index:016d} -m set --match-set KUBE-SRC-{index:04d} src -j MARK --set-xmark "
                "0x10000/0x10000"
            )
    return adding(*rules, table="filter", chains=tuple(chains))


OLD_DROP = both(
    adding("-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000"),
    adding(
        "-A INPUT -j KUBE-FIREWALL",
        "-A OUTPUT -j KUBE-FIREWALL",
        "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP",
        table="filter",
        chains=("KUBE-FIREWALL",),
    ),
)

PAIRS: dict[str, Pair] = {
    "CNI portmap: hostPort of a port that is no NodePort": Pair(
        near_miss=adding(
            "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            '-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
            "-A CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000",
            "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
            "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8443 -j CNI-DN-0123",
            "-A CNI-DN-0123 -s 10.244.1.0/24 -p tcp -m tcp --dport 8443 -j CNI-HOSTPORT-SETMARK",
            "-A CNI-DN-0123 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.244.1.5:8443",
            chains=("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ", "CNI-DN-0123"),
        ),
        fault=adding(
            "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8443,30019 -j CNI-DN-0123",
            "-A CNI-DN-0123 -p tcp -m tcp --dport 30019 -j DNAT --to-destination 10.244.1.5:8443",
            chains=("CNI-HOSTPORT-DNAT", "CNI-DN-0123"),
        ),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "hostPort 80 limited to the node's addresses, and one that takes port 80 of everything": Pair(
        near_miss=adding("-A PREROUTING -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.5:80"),
        fault=adding("-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.5:80"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "Docker's chains, and its isolation applied to pods": Pair(
        near_miss=both(
            adding(
                "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
                "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
                "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
                "-A DOCKER -i docker0 -j RETURN",
                "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 5000 -j DNAT --to-destination 172.17.0.2:5000",
                chains=("DOCKER",),
            ),
            adding(
                "-A FORWARD -j DOCKER-USER",
                "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
                "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A FORWARD -o docker0 -j DOCKER",
                "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
                "-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 5000 -j ACCEPT",
                "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2",
                "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
                "-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP",
                "-A DOCKER-USER -j RETURN",
                table="filter",
                chains=("DOCKER", "DOCKER-USER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"),
            ),
        ),
        fault=adding("-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -i cni0 -j DROP", table="filter", chains=("DOCKER-USER",)),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "kubelet's own chains, and the 0x8000 drop that lost its mark (issue 114549)": Pair(
        near_miss=both(
            adding("-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000", chains=("KUBE-MARK-DROP", "KUBE-KUBELET-CANARY")),
            adding(
                '-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" '
                "-m mark --mark 0x8000/0x8000 -j DROP",
                table="filter",
                chains=("KUBE-KUBELET-CANARY",),
            ),
            adding(table="mangle", chains=("KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT")),
        ),
        fault=adding(
            '-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -j DROP',
            table="filter",
        ),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "ip-masq-agent and flannel masquerade on their own account; a RETURN that keeps Service traffic from it": Pair(
        near_miss=adding(
            "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
            "-A IP-MASQ-AGENT -d 10.0.0.0/8 -j RETURN",
            "-A IP-MASQ-AGENT -j MASQUERADE",
            *BEARER,
            chains=("IP-MASQ-AGENT",),
            last=True,
        ),
        fault=adding("-A POSTROUTING -d 10.244.0.0/16 -j RETURN"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "masquerade by a CNI rule before kube-proxy's": Pair(
        near_miss=adding("-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully"),
        fault=adding("-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "a mesh's redirect of its own port, and one of Service traffic": Pair(
        near_miss=adding("-A PREROUTING -i cni0 -p tcp -m tcp --dport 15001 -j REDIRECT --to-ports 15006"),
        fault=adding("-A PREROUTING -i cni0 -p tcp -j REDIRECT --to-ports 15006"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "metadata address of a cloud, and the whole link-local range written too wide": Pair(
        near_miss=adding("-A PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.9:8181"),
        fault=adding("-A PREROUTING -d 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.9:8181"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "fail2ban on ssh, and on every port": Pair(
        near_miss=adding(
            "-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd",
            "-A f2b-sshd -s 198.51.100.7/32 -j REJECT --reject-with icmp-port-unreachable",
            "-A f2b-sshd -j RETURN",
            table="filter",
            chains=("f2b-sshd",),
        ),
        fault=adding(
            "-A FORWARD -p tcp -j f2b-sshd",
            "-A f2b-sshd -s 10.244.1.77/32 -j REJECT --reject-with icmp-port-unreachable",
            "-A f2b-sshd -j RETURN",
            table="filter",
            chains=("f2b-sshd",),
        ),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "firewalld: accepting zones before the final reject": Pair(
        near_miss=both(
            adding("-A PREROUTING -m rpfilter --invert -j DROP", table="raw"),
            adding(
                "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
                "-A FORWARD -i lo -j ACCEPT",
                "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
                '-A FORWARD -m limit --limit 10/min -j LOG --log-prefix "REJECT: "',
                table="filter",
            ),
            adding(
                "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
                "-A FORWARD -d 10.244.0.0/16 -j ACCEPT",
                "-A FORWARD -d 203.0.113.0/24 -j ACCEPT",
                "-A FORWARD -d 192.168.56.0/24 -j ACCEPT",
                "-A FORWARD -m conntrack --ctstate NEW,UNTRACKED -s 192.168.56.0/24 -j ACCEPT",
                "-A FORWARD -d 192.0.2.0/24 -j REJECT --reject-with icmp-host-prohibited",
                table="filter",
                last=True,
            ),
        ),
        fault=adding(
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
            table="filter",
        ),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "FORWARD policy DROP with accepting rules, and without": Pair(
        near_miss=both(
            policy("FORWARD"),
            adding(
                "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
                "-A FORWARD -d 10.244.0.0/16 -j ACCEPT",
                "-A FORWARD -d 203.0.113.0/24 -m conntrack --ctstate DNAT -j ACCEPT",
                "-A FORWARD -d 192.168.56.0/24 -j ACCEPT",
                "-A FORWARD -s 192.168.56.0/24 -j ACCEPT",
                "-A FORWARD -d 198.51.100.0/24 -j ACCEPT",
                table="filter",
                last=True,
            ),
        ),
        fault=policy("FORWARD"),
        cause=CauseKind.FORWARD_POLICY,
    ),
    "--random-fully missing, and MASQUERADE missing": Pair(
        near_miss=replacing(f"{MASQUERADE} --random-fully", MASQUERADE),
        fault=replacing(f"{MASQUERADE} --random-fully\n", ""),
        cause=CauseKind.MASQUERADE_RULE,
    ),
    "KUBE-POSTROUTING written twice, by proxy and kubelet, and asking for another bit": Pair(
        near_miss=adding(
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
            f"{MASQUERADE} --random-fully",
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        ),
        fault=replacing(
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000", "-A KUBE-POSTROUTING -m mark ! --mark 0x1/0x1"
        ),
        cause=CauseKind.MASQUERADE_RULE,
    ),
    "the other spelling of the mark, and a mark without a mask": Pair(
        near_miss=replacing("--set-xmark 0x4000/0x4000", "--or-mark 0x4000"),
        fault=replacing("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x0/0x0"),
        cause=CauseKind.MASQUERADE_RULE,
    ),
    "chains of Services that nothing leads to any more, and one that is still led to": Pair(
        near_miss=adding(
            "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA",
            "-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.244.1.222:80",
            chains=("KUBE-SVC-AAAAAAAAAAAAAAAA", "KUBE-SEP-AAAAAAAAAAAAAAAA"),
        ),
        fault=adding(
            '-A KUBE-SERVICES -d 10.96.3.3/32 -p tcp -m comment --comment "default/gone cluster IP" -m tcp --dport 80 '
            "-j KUBE-SVC-AAAAAAAAAAAAAAAA",
            "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA",
            "-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.244.1.222:80",
            chains=("KUBE-SVC-AAAAAAAAAAAAAAAA", "KUBE-SEP-AAAAAAAAAAAAAAAA"),
        ),
        cause=CauseKind.STALE_FRONTEND,
    ),
    "no comments in Service and endpoint chains (large cluster), and no probabilities": Pair(
        near_miss=matching(r'^(-A KUBE-(?:SVC|SVL|SEP)-.*?) -m comment --comment "[^"]*"', r"\1"),
        fault=matching(r"^(-A KUBE-SVC-OKFF342BO4PYBWUL .*) -m statistic --mode random --probability 0.33333333349", r"\1"),
        cause=CauseKind.MISSING_ENDPOINT,
    ),
    "no comments at all, and a Service's rule missing": Pair(
        near_miss=matching(r' -m comment --comment ("[^"]*"|\S+)', ""),
        fault=matching(rf"^-A KUBE-SERVICES -d {VIP}/32 .*\n", ""),
        cause=CauseKind.MISSING_FRONTEND,
    ),
    "counters in front of rules, and an endpoint at another port": Pair(
        near_miss=matching(r"^-A ", "[123:45678] -A "),
        fault=replacing("--to-destination 10.244.1.3:80", "--to-destination 10.244.1.3:8081", every=True),
        cause=CauseKind.WRONG_PORT,
    ),
    "probabilities of five decimals (up to 1.16), and a wrong one": Pair(
        near_miss=matching(r"0\.33333333349", "0.33332999982"),
        fault=matching(r"0\.33333333349", "0.30000000000"),
        cause=CauseKind.UNBALANCED,
    ),
    "Services in another order, NodePort dispatch last, and NodePort dispatch gone": Pair(
        near_miss=lambda text: _reversed_services(text),
        fault=replacing(NODE_PORT_RULE, ""),
        cause=CauseKind.NODE_PORT_DISPATCH,
    ),
    "NodePort dispatch address by address, and one address forgotten": Pair(
        near_miss=per_address("192.168.56.11", "10.244.1.1", "127.0.0.1"),
        fault=per_address("192.168.56.11", "127.0.0.1"),
        cause=CauseKind.STALE_NODE,
    ),
    "other programs' jumps before and between kube-proxy's, and kube-proxy's gone": Pair(
        near_miss=adding(
            "-A PREROUTING -j SOMEBODY",
            "-A OUTPUT -j SOMEBODY",
            "-A POSTROUTING -j SOMEBODY",
            "-A SOMEBODY -m comment --comment nothing -j RETURN",
            chains=("SOMEBODY",),
        ),
        fault=replacing(SERVICES_JUMP, ""),
        cause=CauseKind.BASE_JUMP,
    ),
    "packets marked for others, and the masquerade mark cleared on the way": Pair(
        near_miss=adding(
            "-A PREROUTING -i eth0 -j MARK --set-xmark 0x200/0xf00",
            "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80",
            table="mangle",
        ),
        fault=adding("-A POSTROUTING -j MARK --set-xmark 0x0/0xffffffff"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "NOTRACK of a port that no Service has, and of Service traffic": Pair(
        near_miss=adding("-A PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -j NOTRACK", table="raw"),
        fault=adding(f"-A PREROUTING -d {VIP}/32 -p tcp -m tcp --dport 80 -j NOTRACK", table="raw"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "a second REJECT for an address that is refused anyway, and for one that has endpoints": Pair(
        near_miss=adding(
            '-A KUBE-SERVICES -d 10.96.100.9/32 -p tcp -m comment --comment "default/no-eps has no endpoints" '
            "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable",
            table="filter",
        ),
        fault=adding("-A FORWARD -d 10.244.1.3/32 -p tcp -m tcp --dport 80 -j REJECT", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "the old kubelet's drop of marked packets (1.20), and Service packets that get the mark": Pair(
        base=OLD,
        near_miss=OLD_DROP,
        fault=both(OLD_DROP, adding(f"-A KUBE-SERVICES -d {VIP}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-DROP")),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "a left-over REJECT that translated packets never meet, and one of what they are translated to": Pair(
        base=OLD,
        near_miss=adding(
            f"-A KUBE-SERVICES -d {VIP}/32 -p tcp -m tcp --dport 80 -j REJECT",
            "-A KUBE-EXTERNAL-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30019 -j REJECT",
            table="filter",
        ),
        fault=adding("-A KUBE-SERVICES -d 10.244.1.3/32 -p tcp -m tcp --dport 80 -j REJECT", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "Calico policy with an ipset that was not recorded": Pair(
        near_miss=calico("ACCEPT"),
        fault=adding("-A FORWARD -o cni0 -j cali-FORWARD", "-A cali-FORWARD -j DROP", table="filter", chains=("cali-FORWARD",)),
        cause=CauseKind.FOREIGN_RULE,
    ),
    "Calico policy that drops by an ipset that was not recorded": Pair(
        near_miss=calico("DROP"),
        fault=adding("-A FORWARD -d 10.244.1.3/32 -j DROP", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
        unclear=True,
    ),
    "kube-router policies for every pod with ipsets that were not recorded": Pair(
        near_miss=kube_router(drops=False),
        fault=kube_router(drops=True),
        cause=CauseKind.FOREIGN_RULE,
        unclear=True,
    ),
    "many block lists that were not recorded, and one address that is blocked": Pair(
        near_miss=adding(
            *(f"-A FORWARD -m set --match-set blocked-{index} src -j DROP" for index in range(12)), table="filter"
        ),
        fault=adding("-A FORWARD -s 10.244.1.3/32 -j DROP", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
        unclear=True,
    ),
    "a match that kdiag does not know, and the same rule without it": Pair(
        near_miss=adding("-A FORWARD -m bpf --bytecode \"4,48 0 0 9\" -j DROP", table="filter"),
        fault=adding("-A FORWARD -j DROP", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
        unclear=True,
    ),
    "a limit before an accept": Pair(
        near_miss=adding("-A FORWARD -m limit --limit 100/sec -j ACCEPT", table="filter"),
        fault=adding("-A FORWARD -p tcp -j DROP", table="filter"),
        cause=CauseKind.FOREIGN_RULE,
        unclear=True,
    ),
}  # fmt: skip


def _reversed_services(text: str) -> str:
    lines = text.splitlines(keepends=True)
    head = text[: text.index("*nat\n")].count("\n")
    places = [
        i
        for i, line in enumerate(lines)
        if i > head and line.startswith("-A KUBE-SERVICES ") and line != NODE_PORT_RULE
    ]
    reordered = list(lines)
    for i, j in zip(places, reversed(places), strict=True):
        reordered[i] = lines[j]
    return "".join(reordered)


@cache
def judged(name: str, side: str) -> tuple[Snapshot, Comparison]:
    pair = PAIRS[name]
    edit = pair.near_miss if side == "near miss" else pair.fault
    snapshot = variant(cluster(pair.base), node=NODE, probe="iptables-save", edit=edit)
    return snapshot, comparison_of(snapshot)


def comparison_of(snapshot: Snapshot, node: str = NODE) -> Comparison:
    found = build_view(snapshot, nodes=(node,))[0].node_by_name[node].comparison
    assert found is not None
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_the_near_miss_is_no_difference(name: str) -> None:
    _, comparison = judged(name, "near miss")
    assert [f"{group.cause}: {group.detail}" for group in comparison.groups] == []
    assert bool(comparison.unclear) is PAIRS[name].unclear


@pytest.mark.parametrize("name", PAIRS)
def test_the_fault_beside_it_is_found(name: str) -> None:
    _, comparison = judged(name, "fault")
    assert PAIRS[name].cause in {group.cause for group in comparison.groups}


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if pair.unclear])
def test_what_cannot_be_told_is_a_gap_and_no_finding(name: str) -> None:
    snapshot, _ = judged(name, "near miss")
    report = diagnose(snapshot, Scope(nodes=(NODE,), select=("KD2",)))
    assert [finding for finding in report.findings if finding.severity is not Severity.INFO] == []
    assert any(gap.subject.startswith("cannot tell: ") and gap.kind is GapKind.FAILED for gap in report.gaps)


# -- near misses that are more than one dump's text --------------------------------------------------------------------


def edited_json(snapshot: Snapshot, node: str, probe: str, edit: Callable[[Any], None]) -> Snapshot:
    """A copy in which one JSON probe was edited in place."""

    def change(text: str) -> str:
        decoded = json.loads(text)
        edit(decoded)
        return json.dumps(decoded)

    return variant(snapshot, node=node, probe=probe, edit=change)


NODE_LOCAL = adding(
    "-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NOTRACK",
    "-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j NOTRACK",
    "-A OUTPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NOTRACK",
    "-A OUTPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j NOTRACK",
    table="raw",
)


def with_node_local_interface(snapshot: Snapshot) -> Snapshot:
    def edit(links: list[dict[str, Any]]) -> None:
        links.append(
            {
                "ifindex": 9,
                "ifname": "nodelocaldns",
                "flags": ["BROADCAST", "NOARP"],
                "addr_info": [
                    {"family": "inet", "local": text, "prefixlen": 32, "scope": "global"}
                    for text in ("169.254.20.10", "10.96.0.10")
                ],
            }
        )

    return edited_json(snapshot, NODE, "ip-addr", edit)


@pytest.mark.parametrize("tracked", [False, True])
def test_a_node_local_dns_cache_that_answers_for_the_dns_service(tracked: bool) -> None:
    snapshot = with_node_local_interface(cluster(NEW))
    if not tracked:
        snapshot = variant(snapshot, node=NODE, probe="iptables-save", edit=NODE_LOCAL)
    assert comparison_of(snapshot).groups == ()
    gaps = build_view(snapshot, nodes=(NODE,))[1]
    assert [(gap.subject, gap.kind) for gap in gaps if "node-local DNS cache" in gap.reason] == [
        ("kube-system/kube-dns", GapKind.NOT_APPLICABLE)
    ]


def test_untracked_dns_without_a_cache_is_a_fault() -> None:
    snapshot = variant(cluster(NEW), node=NODE, probe="iptables-save", edit=NODE_LOCAL)
    groups = comparison_of(snapshot).groups
    assert {group.cause for group in groups} == {CauseKind.FOREIGN_RULE}
    assert {str(item.service_port) for group in groups for item in group.differences} >= {"kube-system/kube-dns:dns"}


def without_cluster_cidr(snapshot: Snapshot) -> Snapshot:
    """A cluster whose proxies know no range of pods: no masquerade rule asks for one, no shortcut for pods exists."""
    found = snapshot
    for node in snapshot.nodes:
        found = edited_json(found, node, "configz", lambda item: item["kubeproxy.config.k8s.io"].update(clusterCIDR=""))
        found = variant(found, node=node, probe="iptables-save", edit=_without_range)
    maps = json.loads(snapshot.api["kube-system-configmaps"].content)
    for item in maps["items"]:
        if item["metadata"]["name"] == "kube-proxy":
            item["data"]["config.conf"] = re.sub("clusterCIDR:.*", 'clusterCIDR: ""', item["data"]["config.conf"])
    recording = snapshot.api["kube-system-configmaps"].replaced(content=json.dumps(maps).encode())
    return structs.replace(found, api={**found.api, "kube-system-configmaps": recording})


def _without_range(text: str) -> str:
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not (line.startswith("-A KUBE-") and "-s 10.244.0.0/16" in line)
    )


def test_an_unset_cluster_cidr_is_no_difference() -> None:
    snapshot = without_cluster_cidr(cluster(NEW))
    for node in snapshot.nodes:
        assert comparison_of(snapshot, node).groups == ()


def test_missing_ranges_beside_a_set_cluster_cidr_are_one_fault_of_local_detection() -> None:
    snapshot = variant(cluster(NEW), node=NODE, probe="iptables-save", edit=_without_range)
    groups = comparison_of(snapshot).groups
    assert {group.cause for group in groups} == {CauseKind.LOCAL_DETECTION}
    assert all("no masquerade rule tells pods from others" in group.detail for group in groups)


def test_an_empty_rule_set_of_the_other_backend_is_no_second_backend() -> None:
    base = cluster(NEW)
    empty = Recording(source="nodes/node01/iptables-legacy-save.txt", content=b"", exit_status=0)
    probes = {**base.nodes[NODE], "iptables-legacy-save": empty}
    assert comparison_of(structs.replace(base, nodes={**base.nodes, NODE: probes})).groups == ()


def test_docker_rules_in_the_other_backend_are_no_second_backend() -> None:
    base = cluster(NEW)
    docker = b"*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n"
    other = Recording(source="nodes/node01/iptables-legacy-save.txt", content=docker)
    probes = {**base.nodes[NODE], "iptables-legacy-save": other}
    assert comparison_of(structs.replace(base, nodes={**base.nodes, NODE: probes})).groups == ()


def test_service_rules_in_both_backends_are_one_cause() -> None:
    base = cluster(NEW)
    legacy = base.nodes[NODE]["iptables-save"].text().replace(" (nf_tables)", "")
    other = Recording(source="nodes/node01/iptables-legacy-save.txt", content=legacy.encode())
    probes = {**base.nodes[NODE], "iptables-legacy-save": other}
    groups = comparison_of(structs.replace(base, nodes={**base.nodes, NODE: probes})).groups
    assert [group.cause for group in groups] == [CauseKind.TWO_BACKENDS]


@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_a_healthy_cluster_has_no_difference(name: str) -> None:
    view, _ = build_view(cluster(name))
    for node in view.nodes:
        assert node.comparison is not None
        assert node.comparison.judged > 200
        assert (node.comparison.groups, node.comparison.unclear) == ((), ())
