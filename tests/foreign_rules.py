"""Rules that other software keeps on a node beside kube-proxy's, as its own releases write them.

Each is a piece of `iptables-save`. In it `-I CHAIN …` stands before kube-proxy's rules of the table, `-A CHAIN …` behind
them, and `-P CHAIN DROP` sets a policy; chains are declared where they are first named.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PODS = "10.244.0.0/16"
LOCAL_PODS = "10.244.1.0/24"
NODE_ADDRESS = "192.168.56.11"
BUILTIN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
TARGETS = frozenset(
    "ACCEPT CONNMARK CT DNAT DROP LOG MARK MASQUERADE NFLOG NOTRACK REDIRECT REJECT RETURN SNAT TPROXY".split()
)
_TABLE = re.compile(r"^\*(\S+)\n(.*?)^COMMIT\n", re.MULTILINE | re.DOTALL)


def beside(piece: str) -> Callable[[str], str]:
    """An edit that puts a piece of rules beside those of a dump."""
    wanted = {match.group(1): match.group(2).splitlines() for match in _TABLE.finditer(piece)}
    assert wanted, "the piece has no table"

    def edit(text: str) -> str:
        for table in wanted:
            if f"*{table}\n" not in text:
                text = (
                    f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in BUILTIN[table]) + "COMMIT\n" + text
                )
        return _TABLE.sub(lambda match: _merged(match.group(1), match.group(2), wanted.get(match.group(1), [])), text)

    return edit


def _merged(table: str, body: str, piece: list[str]) -> str:
    lines = body.splitlines()
    declared = {line.split()[0].removeprefix(":") for line in lines if line.startswith(":")}
    spoken = [re.sub(r'"(?:[^"\\]|\\.)*"', "", line) for line in piece]
    named = [
        name for line in spoken for name in re.findall(r"^-[AI] (\S+)| -[jg] (\S+)", line) for name in name if name
    ]
    new = [f":{name} - [0:0]" for name in dict.fromkeys(named) if name not in declared | TARGETS]
    for line in piece:
        if line.startswith("-P "):
            _, chain, policy = line.split()
            lines = [
                re.sub(r"^(:\S+) \S+", rf"\1 {policy}", item) if item.startswith(f":{chain} ") else item
                for item in lines
            ]
    heads = [line for line in lines if line.startswith(":")]
    rules = [line for line in lines if not line.startswith(":")]
    first = ["-A" + line[2:] for line in piece if line.startswith("-I ")]
    last = [line for line in piece if line.startswith("-A ")]
    return "\n".join([f"*{table}", *heads, *new, *first, *rules, *last, "COMMIT"]) + "\n"


# -- service meshes ------------------------------------------------------------------------------------------------------

ISTIO_AMBIENT = """\
*nat
-A POSTROUTING -j ISTIO_POSTRT
-A ISTIO_POSTRT -p tcp -m owner --socket-exists -m set --match-set istio-inpod-probes-v4 dst -j SNAT --to-source 169.254.7.127
COMMIT
"""
"""istio-cni of ambient mode (1.21 and later) in the node's own namespace: health probes of the kubelet."""

ISTIO_SETS = (
    "create istio-inpod-probes-v4 hash:ip family inet hashsize 1024 maxelem 65536 comment\n"
    'add istio-inpod-probes-v4 10.244.1.10 comment "3d5a"\n'
)

LINKERD = """\
*nat
-I PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
-I OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567,4568 -m comment --comment "proxy-init/ignore-port" -j RETURN
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
-A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
COMMIT
"""
LINKERD_REDIRECT = LINKERD.replace(
    "COMMIT",
    '-A PROXY_INIT_REDIRECT -p tcp -m comment --comment "proxy-init/redirect-all" -j REDIRECT --to-ports 4143\n'
    '-A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all" -j REDIRECT --to-ports 4140\nCOMMIT',
)
"""proxy-init that ran in the node's namespace instead of a pod's."""

# -- DNS caches ----------------------------------------------------------------------------------------------------------


def node_local_dns(*addresses: str) -> str:
    """node-local-dns 1.15 to 1.23, for the addresses that it listens at."""
    comment = '-m comment --comment "NodeLocal DNS Cache: {}"'
    raw, packet_filter = [], []
    for address in addresses:
        for protocol in ("udp", "tcp"):
            to = f"-d {address}/32 -p {protocol} -m {protocol} --dport 53 "
            back = f"-s {address}/32 -p {protocol} -m {protocol} --sport 53 "
            skip, allow = comment.format("skip conntrack"), comment.format("allow DNS traffic")
            raw += [f"-I PREROUTING {to}{skip} -j NOTRACK", f"-I OUTPUT {back}{skip} -j NOTRACK"]
            raw += [f"-I OUTPUT {to}{skip} -j NOTRACK"]
            packet_filter += [f"-I INPUT {to}{allow} -j ACCEPT", f"-I OUTPUT {back}{allow} -j ACCEPT"]
        raw += [f"-I OUTPUT -d {address}/32 -p tcp -m tcp --dport 8080 {comment.format('skip conntrack')} -j NOTRACK"]
    return "\n".join(["*raw", *raw, "COMMIT", "*filter", *packet_filter, "COMMIT", ""])


# -- masquerading agents -------------------------------------------------------------------------------------------------


def ip_masq_agent(chain: str, *, first: bool) -> str:
    """ip-masq-agent 2.5 and later (chain IP-MASQ) and earlier (IP-MASQ-AGENT)."""
    own = "\n".join(
        f'-A {chain} -d {network} -m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN'
        for network in ("169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    )
    return f"""\
*nat
-{"I" if first else "A"} POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination \
traffic to our custom {chain} chain" -m addrtype ! --dst-type LOCAL -j {chain}
{own}
-A {chain} -m comment --comment "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
COMMIT
"""


def portmap(dport: int, *, first: bool = False) -> str:
    """The CNI plugin portmap (1.x) with one container's hostPort; it appends its jumps, so a NodePort wins by default."""
    place = "I" if first else "A"
    return f"""\
*nat
-{place} PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-{place} OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"8a1f\\"" -m multiport --dports {dport} -j CNI-DN-b0c4da1ab7d9a1c6e1f08
-A CNI-DN-b0c4da1ab7d9a1c6e1f08 -s {LOCAL_PODS} -p tcp -m tcp --dport {dport} -j CNI-HOSTPORT-SETMARK
-A CNI-DN-b0c4da1ab7d9a1c6e1f08 -s 127.0.0.1/32 -p tcp -m tcp --dport {dport} -j CNI-HOSTPORT-SETMARK
-A CNI-DN-b0c4da1ab7d9a1c6e1f08 -p tcp -m tcp --dport {dport} -j DNAT --to-destination 10.244.1.9:8443
-A POSTROUTING -s 10.244.1.9/32 -m comment --comment "name: \\"cbr0\\" id: \\"8a1f\\"" -j CNI-5c1ab7d9a1c6e1f08b0c4da
-A CNI-5c1ab7d9a1c6e1f08b0c4da -d {LOCAL_PODS} -m comment --comment "name: \\"cbr0\\" id: \\"8a1f\\"" -j ACCEPT
-A CNI-5c1ab7d9a1c6e1f08b0c4da ! -d 224.0.0.0/4 -m comment --comment "name: \\"cbr0\\" id: \\"8a1f\\"" -j MASQUERADE
COMMIT
"""


# -- container engines and firewalls -------------------------------------------------------------------------------------

FLANNEL = f"""\
*nat
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {LOCAL_PODS} -d {PODS} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {PODS} -d {LOCAL_PODS} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s {PODS} -d {LOCAL_PODS} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {PODS} ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {PODS} -d {PODS} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s {PODS} -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d {PODS} -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""

DOCKER = """\
*nat
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 5000 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 5000 -j DNAT --to-destination 172.17.0.2:5000
COMMIT
*filter
-I FORWARD -j DOCKER-USER
-I FORWARD -j DOCKER-ISOLATION-STAGE-1
-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
-I FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 5000 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""
DOCKER_28 = """\
*raw
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*filter
-I FORWARD -j DOCKER-USER
-I FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-INTERNAL -i docker1 ! -o docker1 -j DROP
COMMIT
"""
FORWARD_DROP = "*filter\n-P FORWARD DROP\nCOMMIT\n"
OTHERS_ACCEPTED = """\
*filter
-A FORWARD -s 192.168.56.0/24 -j ACCEPT
-A FORWARD -d 192.168.56.0/24 -j ACCEPT
-A FORWARD -d 203.0.113.0/24 -j ACCEPT
-A FORWARD -d 198.51.100.0/24 -j ACCEPT
COMMIT
"""
"""What an administrator adds for backends outside of the cluster."""

FIREWALLD = """\
*mangle
-A PREROUTING -j PREROUTING_direct
COMMIT
*raw
-A PREROUTING -m rpfilter --validmark --invert -j DROP
-A PREROUTING -j PREROUTING_direct
COMMIT
*nat
-A PREROUTING -j PREROUTING_direct
-A PREROUTING -j PREROUTING_ZONES
-A OUTPUT -j OUTPUT_direct
-A POSTROUTING -j POSTROUTING_direct
-A POSTROUTING -j POSTROUTING_ZONES
-A PREROUTING_ZONES -i cni0 -g PRE_trusted
-A PREROUTING_ZONES -i eth0 -g PRE_public
-A PREROUTING_ZONES -g PRE_public
-A POSTROUTING_ZONES -o cni0 -g POST_trusted
-A POSTROUTING_ZONES -g POST_public
-A PRE_public -j PRE_public_allow
-A PRE_trusted -j PRE_trusted_allow
-A POST_public -j POST_public_allow
-A POST_trusted -j POST_trusted_allow
COMMIT
*filter
-I INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-I INPUT -i lo -j ACCEPT
-I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-I FORWARD -i lo -j ACCEPT
-A INPUT -j INPUT_direct
-A INPUT -j INPUT_ZONES
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -j FORWARD_OUT_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -j OUTPUT_direct
-A INPUT_ZONES -i cni0 -g IN_trusted
-A INPUT_ZONES -g IN_public
-A FORWARD_IN_ZONES -i cni0 -g FWDI_trusted
-A FORWARD_IN_ZONES -g FWDI_public
-A FORWARD_OUT_ZONES -o cni0 -g FWDO_trusted
-A FORWARD_OUT_ZONES -g FWDO_public
-A IN_trusted -j ACCEPT
-A FWDI_trusted -j ACCEPT
-A FWDO_trusted -j ACCEPT
-A IN_public -j IN_public_allow
-A IN_public -p icmp -j ACCEPT
-A IN_public_allow -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A FWDI_public -p icmp -j ACCEPT
COMMIT
"""
"""firewalld 1.x with the iptables backend, its own rules after kube-proxy's, pods' bridge in the zone trusted."""

FIREWALLD_IN_FRONT = """\
*filter
-I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -i lo -j ACCEPT
-I FORWARD -j FORWARD_direct
-I FORWARD -j FORWARD_IN_ZONES
-I FORWARD -j REJECT --reject-with icmp-host-prohibited
-A FORWARD_IN_ZONES -g FWDI_public
-A FORWARD_direct -s 10.99.0.0/16 -j ACCEPT
-A FWDI_public -p icmp -j ACCEPT
COMMIT
"""
"""firewalld 0.x after a reload: no zone for the pods' bridge, and translated packets are not let through."""

UFW = """\
*filter
-P INPUT DROP
-I INPUT -j ufw-before-logging-input
-I INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-I FORWARD -j ufw-before-logging-forward
-I FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-I OUTPUT -j ufw-before-output
-A OUTPUT -j ufw-track-output
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-before-output -o lo -j ACCEPT
-A ufw-before-output -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-output -j ufw-user-output
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-skip-to-policy-input -j DROP
-A ufw-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
-A ufw-track-output -p udp -m conntrack --ctstate NEW -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 9100 -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 30000:32767 -j ACCEPT
-A ufw-user-input -p udp -m multiport --dports 30000:32767 -j ACCEPT
-A ufw-user-input -i cni0 -j ACCEPT
-A ufw-user-input -s 192.168.56.0/24 -j ACCEPT
COMMIT
"""
"""ufw 0.36 with DEFAULT_FORWARD_POLICY="ACCEPT". 9100 is the port of backends in the node's own namespace."""

UFW_FORWARD_DROP = "*filter\n-P FORWARD DROP\n-A ufw-user-forward -s 10.99.0.0/16 -j ACCEPT\nCOMMIT\n"

FAIL2BAN = """\
*filter
-I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A f2b-sshd -s 198.51.100.7/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -s 203.0.113.99/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
"""

FAIL2BAN_ALL = """\
*filter
-I INPUT -p tcp -j f2b-all
-I FORWARD -p tcp -j f2b-all
-A f2b-all -s 10.244.1.3/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-all -j RETURN
COMMIT
"""

TAILSCALE = """\
*filter
-I INPUT -j ts-input
-I FORWARD -j ts-forward
-A ts-input -s 100.101.102.103/32 -i lo -j ACCEPT
-A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
-A ts-input -i tailscale0 -j ACCEPT
-A ts-input -p udp -m udp --dport 41641 -j ACCEPT
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP
-A ts-forward -o tailscale0 -j ACCEPT
COMMIT
*nat
-I POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
"""

# -- network plugins -----------------------------------------------------------------------------------------------------


def kube_router_policy(*, allowing: bool) -> str:
    """kube-router's network policies alone (also inside k3s), for one pod; without the rule that allows, all is refused."""
    chain, pod = "KUBE-POD-FW-7XQ5Z2Q4M5V5Q3JX", "10.244.1.10/32"
    allow = '-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000'
    return f"""\
*filter
-I INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-I FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-I OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary cluster IP range" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-FORWARD -d {pod} -m comment --comment "rule to jump traffic destined to POD name:web to chain {chain}" -j {chain}
-A KUBE-ROUTER-FORWARD -d {pod} -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic destined to POD name:web to chain {chain}" -j {chain}
-A KUBE-ROUTER-FORWARD -s {pod} -m comment --comment "rule to jump traffic from POD name:web to chain {chain}" -j {chain}
-A KUBE-ROUTER-OUTPUT -d {pod} -m comment --comment "rule to jump traffic destined to POD name:web to chain {chain}" -j {chain}
-A KUBE-ROUTER-OUTPUT -s {pod} -m comment --comment "rule to jump traffic from POD name:web to chain {chain}" -j {chain}
-A {chain} -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A {chain} -m comment --comment "rule to drop invalid state for pod" -m conntrack --ctstate INVALID -j DROP
-A {chain} -d {pod} -m comment --comment "rule to permit the traffic traffic to pods when source is the pod's local node" -m addrtype --src-type LOCAL -j ACCEPT
-A {chain} -d {pod} -m comment --comment "run through default ingress network policy  chain" -j KUBE-NWPLCY-DEFAULT
-A {chain} -s {pod} -m comment --comment "run through default egress network policy  chain" -j KUBE-NWPLCY-DEFAULT
-A {chain} -m comment --comment "rule to log dropped traffic POD name:web" -m mark ! --mark 0x10000/0x10000 -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100
-A {chain} -m comment --comment "rule to REJECT traffic destined for POD name:web" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A {chain} -j MARK --set-xmark 0x0/0x10000
-A {chain} -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
-A KUBE-NWPLCY-DEFAULT -m comment --comment "default policy" -m mark --mark 0x1/0x2 -j RETURN
{allow if allowing else ""}
COMMIT
"""


def calico(verdict: str) -> str:
    """Felix 3.27: all jumps, one workload whose policy accepts what comes from the set of allowed sources."""
    return f"""\
*raw
-I PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-I OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A cali-PREROUTING -m comment --comment "cali:XFX5xbM8B9qR10JG" -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -m comment --comment "cali:EWMPb0zVROM-woQp" -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m comment --comment "cali:PWuxTAIaFCtsg5Qa" -m mark --mark 0x40000/0x40000 -j cali-rpf-skip
-A cali-PREROUTING -m comment --comment "cali:fSSbGND7dgyemWU7" -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m comment --comment "cali:ImU0-4Rl2WoOI9Ou" -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "cali:lV4V2MPoMBf0hl9T" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:CPwxmHYUQUIvqJ6Z" -j MARK --set-xmark 0x0/0xf0000
COMMIT
*mangle
-I PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A cali-PREROUTING -m comment --comment "cali:6BJqBjBC7crtA-7-" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:KX7AGNd6rMcDUai6" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:wNH7KsA3ILKJBsY9" -j cali-from-host-endpoint
COMMIT
*nat
-I PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-I OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-I POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-fip-dnat
-A cali-OUTPUT -m comment --comment "cali:GBTAv2p5CwevEyJm" -j cali-fip-dnat
-A cali-POSTROUTING -m comment --comment "cali:Z-c7XtVd2Bq7s_hA" -j cali-fip-snat
-A cali-POSTROUTING -m comment --comment "cali:nYKhEzDlr11Jccal" -j cali-nat-outgoing
-A cali-POSTROUTING -o tunl0 -m comment --comment "cali:SXWvdsbh4Mw7wOln" -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully
-A cali-nat-outgoing -m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully
COMMIT
*filter
-I INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-I FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-I OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:mp77cMpurHhyjLrM" -j MARK --set-xmark 0x10000/0x10000
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:A_sPAO0mcxbT9mOV" -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -m comment --comment "cali:jdEuaPBe14V2hutn" -j cali-to-wl-dispatch
-A cali-FORWARD -m comment --comment "cali:12bc6HljsMKsmfr-" -j cali-to-hep-forward
-A cali-FORWARD -m comment --comment "cali:NOSxoaGx8OIstr1z" -j cali-cidr-block
-A cali-INPUT -p tcp -m comment --comment "cali:dTQ9S7JUJYZwfaYN" -m multiport --dports 4789 -j DROP
-A cali-INPUT -i cali+ -m comment --comment "cali:pVPxgTmyI4B7hLxE" -g cali-wl-to-host
-A cali-INPUT -m comment --comment "cali:DZi5rNmqxkMKOnRx" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -m comment --comment "cali:Xk5SNC_9JwGyBQ9M" -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -m comment --comment "cali:Ykqbnxxsj4bKlNe0" -j cali-from-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:Mq1_rAdXXH3YkrzW" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -m comment --comment "cali:69FkRTJDvD5Vu6Vl" -j RETURN
-A cali-OUTPUT -m comment --comment "cali:Fskumj4SGQtDV6GC" -j MARK --set-xmark 0x0/0xf0000
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
-A cali-from-wl-dispatch -i cali7f+ -m comment --comment "cali:zTj6P0TIgYvgz-md" -g cali-fw-cali7f1c2d3e4f5
-A cali-from-wl-dispatch -m comment --comment "cali:Tkm7qxKyNN5rM6YP" -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch -o cali7f+ -m comment --comment "cali:7KNphB1nNHw80nIO" -g cali-tw-cali7f1c2d3e4f5
-A cali-to-wl-dispatch -m comment --comment "cali:9XsFsdl2P6vLRhcH" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali7f1c2d3e4f5 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali7f1c2d3e4f5 -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali7f1c2d3e4f5 -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali7f1c2d3e4f5 -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali7f1c2d3e4f5 -p ipencap -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali7f1c2d3e4f5 -j cali-pro-kns.default
-A cali-fw-cali7f1c2d3e4f5 -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali7f1c2d3e4f5 -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-cali7f1c2d3e4f5 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali7f1c2d3e4f5 -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali7f1c2d3e4f5 -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali7f1c2d3e4f5 -m comment --comment "Start of policies" -j MARK --set-xmark 0x0/0x20000
-A cali-tw-cali7f1c2d3e4f5 -m mark --mark 0x0/0x20000 -j cali-pi-_hqzX8Xq5Z1
-A cali-tw-cali7f1c2d3e4f5 -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali7f1c2d3e4f5 -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-pro-kns.default -m comment --comment "Profile kns.default egress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pi-_hqzX8Xq5Z1 -m comment --comment "Policy default/allow ingress" -m set --match-set cali40s:anywhere src -j MARK --set-xmark {verdict}
-A cali-pi-_hqzX8Xq5Z1 -m mark --mark 0x10000/0x10000 -j RETURN
COMMIT
"""


CALICO_SETS = f"""\
create cali40s:anywhere hash:net family inet hashsize 1024 maxelem 1048576
add cali40s:anywhere 0.0.0.0/1
add cali40s:anywhere 128.0.0.0/1
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools {PODS}
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools {PODS}
"""

AWS_VPC_CNI = f"""\
*mangle
-A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A PREROUTING -i vlan+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
COMMIT
*nat
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-CONNMARK-CHAIN-0 -d {PODS} -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -d 192.168.56.0/24 -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j RETURN
-A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
-A AWS-SNAT-CHAIN-0 -d {PODS} -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 192.168.56.0/24 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {NODE_ADDRESS} --random-fully
COMMIT
"""
"""amazon-vpc-cni-k8s 1.12 and later; the VPC holds nodes and pods."""


def weave(pods: tuple[str, ...] = ()) -> tuple[str, str]:
    """Weave Net 2.8 with its policy controller: rules and ipsets. `pods` are left out of what is allowed by default."""
    sets = f"""\
create weaver-no-masq-local hash:ip family inet hashsize 1024 maxelem 65536 comment
create weave-;rGqyMIl1HN^cfDki~Z$3]6!N hash:net family inet hashsize 1024 maxelem 65536 comment
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N {PODS} comment "namespace: default"
create weave-s_+ChJId4Uy_$}}G;WdH|~TK)I hash:net family inet hashsize 1024 maxelem 65536 comment
add weave-s_+ChJId4Uy_$}}G;WdH|~TK)I {PODS} comment "namespace: default"
"""
    for pod in pods:
        sets += f"add weave-;rGqyMIl1HN^cfDki~Z$3]6!N {pod}/32 nomatch\n"
    rules = f"""\
*nat
-A POSTROUTING -j WEAVE
-A WEAVE -m set --match-set weaver-no-masq-local dst -m comment --comment "Prevent SNAT to locally running containers" -j RETURN
-A WEAVE -s {PODS} -d 224.0.0.0/4 -j RETURN
-A WEAVE ! -s {PODS} -d {PODS} -j MASQUERADE
-A WEAVE -s {PODS} ! -d {PODS} -j MASQUERADE
COMMIT
*filter
-I INPUT -i weave -j WEAVE-NPC-EGRESS
-I FORWARD -i weave -m comment --comment "NOTE: this must go before '-j KUBE-FORWARD'" -j WEAVE-NPC-EGRESS
-I FORWARD -o weave -m comment --comment "NOTE: this must go before '-j KUBE-FORWARD'" -j WEAVE-NPC
-I FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86
-I FORWARD -o weave -j DROP
-I FORWARD -i weave ! -o weave -j ACCEPT
-I FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -d 224.0.0.0/4 -j ACCEPT
-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS
-A WEAVE-NPC-DEFAULT -m set --match-set weave-;rGqyMIl1HN^cfDki~Z$3]6!N dst -m comment --comment "DefaultAllow ingress isolation for namespace: default" -j ACCEPT
-A WEAVE-NPC-EGRESS -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC-EGRESS -m physdev --physdev-in vethwe-bridge --physdev-is-bridged -j RETURN
-A WEAVE-NPC-EGRESS -m addrtype --dst-type LOCAL -j RETURN
-A WEAVE-NPC-EGRESS -d 224.0.0.0/4 -j RETURN
-A WEAVE-NPC-EGRESS -m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j WEAVE-NPC-EGRESS-CUSTOM
-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j WEAVE-NPC-EGRESS-ACCEPT
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j RETURN
-A WEAVE-NPC-EGRESS-CUSTOM -m comment --comment "no policies" -j RETURN
COMMIT
"""
    return rules, sets


ANTREA = f"""\
*raw
-A PREROUTING -m comment --comment "Antrea: jump to Antrea prerouting rules" -j ANTREA-PREROUTING
-A OUTPUT -m comment --comment "Antrea: jump to Antrea output rules" -j ANTREA-OUTPUT
-A ANTREA-PREROUTING -p udp -m comment --comment "Antrea: do not track incoming encapsulation packets" -m udp --dport 6081 -m addrtype --dst-type LOCAL -j NOTRACK
-A ANTREA-OUTPUT -p udp -m comment --comment "Antrea: do not track outgoing encapsulation packets" -m udp --dport 6081 -m addrtype --src-type LOCAL -j NOTRACK
COMMIT
*mangle
-A PREROUTING -m comment --comment "Antrea: jump to Antrea mangle rules" -j ANTREA-MANGLE
-A OUTPUT -m comment --comment "Antrea: jump to Antrea output rules" -j ANTREA-OUTPUT
-A ANTREA-OUTPUT -o antrea-gw0 -m comment --comment "Antrea: mark LOCAL output packets" -m addrtype --src-type LOCAL -j MARK --set-xmark 0x80000000/0x80000000
COMMIT
*filter
-A FORWARD -m comment --comment "Antrea: jump to Antrea forwarding rules" -j ANTREA-FORWARD
-A ANTREA-FORWARD -i antrea-gw0 -m comment --comment "Antrea: accept packets from local Pods" -j ACCEPT
-A ANTREA-FORWARD -o antrea-gw0 -m comment --comment "Antrea: accept packets to local Pods" -j ACCEPT
COMMIT
*nat
-A POSTROUTING -m comment --comment "Antrea: jump to Antrea postrouting rules" -j ANTREA-POSTROUTING
-A ANTREA-POSTROUTING -s {LOCAL_PODS} ! -o antrea-gw0 -m comment --comment "Antrea: masquerade Pod to external packets" -m set ! --match-set ANTREA-POD-IP dst -j MASQUERADE --random-fully
-A ANTREA-POSTROUTING -o antrea-gw0 -m comment --comment "Antrea: masquerade LOCAL traffic" -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully
COMMIT
"""
ANTREA_SETS = f"create ANTREA-POD-IP hash:net family inet hashsize 1024 maxelem 65536\nadd ANTREA-POD-IP {PODS}\n"

OPENSHIFT_SDN = f"""\
*filter
-I INPUT -m comment --comment "firewall overrides" -j OPENSHIFT-FIREWALL-ALLOW
-I FORWARD -i tun0 ! -o tun0 -m comment --comment "administrator overrides" -j OPENSHIFT-ADMIN-OUTPUT-RULES
-I FORWARD -m comment --comment "firewall overrides" -j OPENSHIFT-FIREWALL-FORWARD
-I OUTPUT -m comment --comment "sdn mcs access blocker" -j OPENSHIFT-BLOCK-OUTPUT
-A OPENSHIFT-ADMIN-OUTPUT-RULES -d 198.18.0.0/15 -j REJECT --reject-with icmp-port-unreachable
-A OPENSHIFT-BLOCK-OUTPUT -p tcp -m tcp --dport 22623 --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with icmp-port-unreachable
-A OPENSHIFT-FIREWALL-ALLOW -p udp -m udp --dport 4789 -m comment --comment "VXLAN incoming" -j ACCEPT
-A OPENSHIFT-FIREWALL-ALLOW -i tun0 -m comment --comment "from SDN to localhost" -j ACCEPT
-A OPENSHIFT-FIREWALL-FORWARD -s {PODS} -m comment --comment "attempted resend after connection close" -m conntrack --ctstate INVALID -j DROP
-A OPENSHIFT-FIREWALL-FORWARD -d {PODS} -m comment --comment "forward traffic from SDN" -j ACCEPT
-A OPENSHIFT-FIREWALL-FORWARD -s {PODS} -m comment --comment "forward traffic to SDN" -j ACCEPT
COMMIT
*nat
-A POSTROUTING -m comment --comment "rules for masquerading OpenShift traffic" -j OPENSHIFT-MASQUERADE
-A OPENSHIFT-MASQUERADE -m comment --comment "ignore marked packets" -m mark --mark 0x4000/0x4000 -j RETURN
-A OPENSHIFT-MASQUERADE -s {PODS} -m comment --comment "masquerade pod-to-external traffic" -j OPENSHIFT-MASQUERADE-2
-A OPENSHIFT-MASQUERADE-2 -d {PODS} -m comment --comment "masquerade pod-to-external traffic" -j RETURN
-A OPENSHIFT-MASQUERADE-2 -m comment --comment "masquerade pod-to-external traffic" -j MASQUERADE
COMMIT
"""

CILIUM = f"""\
*raw
-I PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_raw" -j CILIUM_PRE_raw
-I OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_raw" -j CILIUM_OUTPUT_raw
-A CILIUM_OUTPUT_raw -o lxc+ -m mark --mark 0xa00/0xfffffeff -m comment --comment "cilium: NOTRACK for proxy return traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o cilium_host -m mark --mark 0xa00/0xfffffeff -m comment --comment "cilium: NOTRACK for proxy return traffic" -j CT --notrack
-A CILIUM_PRE_raw -m mark --mark 0x200/0xf00 -m comment --comment "cilium: NOTRACK for proxy traffic" -j CT --notrack
COMMIT
*mangle
-I PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_mangle" -j CILIUM_PRE_mangle
-I POSTROUTING -m comment --comment "cilium-feeder: CILIUM_POST_mangle" -j CILIUM_POST_mangle
-A CILIUM_PRE_mangle -m socket --transparent -m comment --comment "cilium: any->pod redirect proxied traffic to host proxy" -j MARK --set-xmark 0x200/0xffffffff
-A CILIUM_PRE_mangle -p tcp -m mark --mark 0x3f1c0200 -m comment --comment "cilium: TPROXY to host cilium-dns-egress proxy" -j TPROXY --on-port 7231 --on-ip 127.0.0.1 --tproxy-mark 0x200/0xffffffff
COMMIT
*nat
-I PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_nat" -j CILIUM_PRE_nat
-I OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_nat" -j CILIUM_OUTPUT_nat
-I POSTROUTING -m comment --comment "cilium-feeder: CILIUM_POST_nat" -j CILIUM_POST_nat
-A CILIUM_POST_nat -s {LOCAL_PODS} -m set --match-set cilium_node_set_v4 dst -m comment --comment "exclude traffic to cluster nodes from masquerade" -j ACCEPT
-A CILIUM_POST_nat -s {LOCAL_PODS} ! -d {PODS} ! -o cilium_+ -m comment --comment "cilium masquerade non-cluster" -j MASQUERADE
-A CILIUM_POST_nat -m mark --mark 0xa00/0xe00 -m comment --comment "exclude proxy return traffic from masquerade" -j ACCEPT
-A CILIUM_POST_nat -s 127.0.0.1/32 -o cilium_host -m comment --comment "cilium host->cluster from 127.0.0.1 masquerade" -j SNAT --to-source 10.244.1.1
-A CILIUM_POST_nat -o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT -m comment --comment "hairpin traffic that originated from a local pod" -j SNAT --to-source 10.244.1.1
COMMIT
*filter
-I INPUT -m comment --comment "cilium-feeder: CILIUM_INPUT" -j CILIUM_INPUT
-I FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
-I OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT" -j CILIUM_OUTPUT
-A CILIUM_FORWARD -o cilium_host -m comment --comment "cilium: any->cluster on cilium_host forward accept" -j ACCEPT
-A CILIUM_FORWARD -i cilium_host -m comment --comment "cilium: cluster->any on cilium_host forward accept (nodeport)" -j ACCEPT
-A CILIUM_FORWARD -i lxc+ -m comment --comment "cilium: cluster->any on lxc+ forward accept" -j ACCEPT
-A CILIUM_FORWARD -i cilium_net -m comment --comment "cilium: cluster->any on cilium_net forward accept (nodeport)" -j ACCEPT
-A CILIUM_INPUT -m mark --mark 0x200/0xf00 -m comment --comment "cilium: ACCEPT for proxy traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark --mark 0xa00/0xe00 -m comment --comment "cilium: ACCEPT for proxy traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark --mark 0x800/0xe00 -m comment --comment "cilium: ACCEPT for l7 proxy upstream traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0xd00/0xf00 -m mark ! --mark 0x400/0xf00 -m mark ! --mark 0xa00/0xe00 -m mark ! --mark 0x800/0xe00 -m mark ! --mark 0xf00/0xf00 -m comment --comment "cilium: host->any mark as from host" -j MARK --set-xmark 0xc00/0xf00
COMMIT
"""
CILIUM_SETS = (
    "create cilium_node_set_v4 hash:ip family inet hashsize 1024 maxelem 65536\n"
    "add cilium_node_set_v4 192.168.56.10\nadd cilium_node_set_v4 192.168.56.11\nadd cilium_node_set_v4 192.168.56.12\n"
)
"""Cilium 1.16 as a network plugin beside kube-proxy."""

OLD_KUBELET = """\
*mangle
-A KUBE-KUBELET-CANARY -m comment --comment nothing -j RETURN
COMMIT
*nat
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
COMMIT
*filter
-I INPUT -j KUBE-FIREWALL
-I OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
"""
"""A kubelet up to 1.27."""
