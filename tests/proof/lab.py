"""A small network of namespaces, and real TCP connections through it.

    client ── cni0 ┐                ┌ eth0 ── outside
    server ── cni0 ┴──── node ──────┴ eth1 ── backend (which also has the Service addresses)

Traffic stays inside these namespaces. Their names end in the number of the process, so that runs do not meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import re
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdiag.model.addresses import Family, parse_network
from kdiag.model.cluster import Node
from kdiag.model.dataplane import Position
from kdiag.model.host import HostFacts
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.snapshot import Recording
from kdiag.parse.interfaces import parse_interfaces
from kdiag.parse.routes import parse_routes
from kdiag.walk.network import NodeNetwork, node_network

CLONE_NEWNET = 0x40000000
PORTS = (80, 81, 8080, 9000)
"""Where the node, the server pod and the backends listen."""
COMMANDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
# Long enough for an answer inside one machine; and for a busy one, but shorter than it takes until TCP sends its first
# packet again: that one is not what is judged.
ANSWER_S = 0.25
PATIENCE_S = 0.9


class LabError(Exception):
    """The lab cannot be made here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The addresses of one family."""

    family: Family
    prefix_length: int
    bridge: str
    pods: tuple[str, ...]
    server: str
    node_outside: str
    outside: tuple[str, ...]
    node_backend: str
    backends: tuple[str, ...]
    services: tuple[str, ...]
    node_extra: str
    foreign_source: str
    more_pods: tuple[str, ...] = ()
    """More addresses of the server pod."""
    more_outside: tuple[str, ...] = ()
    more_backends: tuple[str, ...] = ()
    """More addresses behind eth1 that are routed there one by one."""

    def clients(self, position: Position) -> tuple[str, ...]:
        """Source addresses at a position."""
        match position:
            case Position.POD:
                return self.pods
            case Position.EXTERNAL:
                return self.outside
            case Position.NODE:
                return (self.node_outside, self.bridge, self.node_extra)

    @property
    def node_addresses(self) -> tuple[str, ...]:
        """All addresses of the node but loopback."""
        return (self.node_outside, self.bridge, self.node_backend, self.node_extra)


SITES = {
    Family.IPV4: Site(
        family=Family.IPV4,
        prefix_length=24,
        bridge="10.244.1.1",
        pods=("10.244.1.10", "10.244.1.11"),
        server="10.244.1.20",
        node_outside="192.168.50.1",
        outside=("192.168.50.2", "192.168.50.3"),
        node_backend="10.244.2.1",
        backends=("10.244.2.10", "10.244.2.11"),
        services=("10.96.0.1", "10.96.0.2", "10.96.0.3"),
        node_extra="10.99.0.1",
        foreign_source="192.168.50.77",
    ),
    Family.IPV6: Site(
        family=Family.IPV6,
        prefix_length=64,
        bridge="fd00:244:1::1",
        pods=("fd00:244:1::10", "fd00:244:1::11"),
        server="fd00:244:1::20",
        node_outside="fd00:50::1",
        outside=("fd00:50::2", "fd00:50::3"),
        node_backend="fd00:244:2::1",
        backends=("fd00:244:2::10", "fd00:244:2::11"),
        services=("fd00:96::1", "fd00:96::2", "fd00:96::3"),
        node_extra="fd00:99::1",
        foreign_source="fd00:50::77",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Probe:
    """One connection: from where, with which source address, to which address and port."""

    position: Position
    source: str
    destination: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a connection ended: `answer` is who answered (address, port) and the source that it saw.

    Without an answer it was `refused` (RST or an ICMP error), or nothing came back.
    """

    answer: tuple[str, int, str] | None = None
    refused: bool = False


def why_not() -> str | None:
    """Why no lab can be made on this machine, in words; None if nothing speaks against it."""
    if os.geteuid() != 0:
        return "network namespaces and iptables need root"
    missing = [tool for tool in ("ip", "iptables-nft-restore", "iptables-legacy-restore") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _run(*words: str, text: str | None = None) -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _remove_left_over() -> None:
    """Delete the namespaces of runs that were killed: those whose process is gone."""
    for line in _run("ip", "netns", "list").splitlines():
        found = re.match(r"kdiag-(?:node|client|server|outside|backend)-(\d+)\b", line)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            subprocess.run(("ip", "netns", "delete", found[0]), capture_output=True, check=False)


_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Sockets that this thread makes in here belong to the namespace for good."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, CLONE_NEWNET):
            raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        _libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)


class Lab:
    """The namespaces. Use as a context manager; they are gone afterwards, whatever happens."""

    def __init__(self, sites: Mapping[Family, Site] | None = None, *, listening: bool = True) -> None:
        suffix = os.getpid()
        self.sites = SITES if sites is None else sites
        self._listening = listening
        self.node = f"kdiag-node-{suffix}"
        self.client = f"kdiag-client-{suffix}"
        self.server = f"kdiag-server-{suffix}"
        self.outside = f"kdiag-outside-{suffix}"
        self.backend = f"kdiag-backend-{suffix}"
        self._made: list[str] = []
        self._listeners: list[socket.socket] = []
        self._errors: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_port = 20000

    def __enter__(self) -> Lab:
        _remove_left_over()
        try:
            for namespace in (self.node, self.client, self.server, self.outside, self.backend):
                _run("ip", "netns", "add", namespace)
                self._made.append(namespace)
            self._connect()
            if self._listening:
                self._listen()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for opened in (*self._listeners, *self._errors):
            opened.close()
        for namespace in self._made:
            subprocess.run(("ip", "netns", "delete", namespace), capture_output=True, check=False)

    # -- wires ---------------------------------------------------------------------------------------------------

    def _settings(self, namespace: str, values: dict[str, str]) -> None:
        with _inside(namespace):
            for key, value in values.items():
                path = "/proc/sys/" + key.replace(".", "/")
                with contextlib.suppress(FileNotFoundError), open(path, "w", encoding="ascii") as file:
                    file.write(value)

    def _connect(self) -> None:
        for namespace in self._made:
            self._settings(
                namespace,
                {
                    "net.ipv6.conf.all.disable_ipv6": "0",
                    "net.ipv6.conf.default.disable_ipv6": "0",
                    "net.ipv6.conf.all.accept_dad": "0",
                    "net.ipv6.conf.default.accept_dad": "0",
                    "net.ipv4.conf.all.rp_filter": "0",
                    "net.ipv4.conf.default.rp_filter": "0",
                },
            )
        self._settings(
            self.node,
            {
                "net.ipv4.ip_forward": "1",
                "net.ipv6.conf.all.forwarding": "1",
                "net.ipv4.conf.all.send_redirects": "0",
                "net.ipv4.conf.default.send_redirects": "0",
                # Every refusal has to be seen, and nothing may be taken for a known connection by its middle.
                "net.ipv4.icmp_ratemask": "0",
                "net.ipv6.icmp.ratelimit": "0",
                "net.ipv4.icmp_msgs_per_sec": "1000000",
                "net.ipv4.icmp_msgs_burst": "1000000",
                "net.netfilter.nf_conntrack_tcp_loose": "0",
                "net.bridge.bridge-nf-call-iptables": "1",
                "net.bridge.bridge-nf-call-ip6tables": "1",
            },
        )
        lines = {
            self.node: [
                "link set lo up",
                "link add cni0 type bridge",
                f"link add veth1 type veth peer name eth0 netns {self.client}",
                f"link add veth2 type veth peer name eth0 netns {self.server}",
                f"link add eth0 type veth peer name eth0 netns {self.outside}",
                f"link add eth1 type veth peer name eth0 netns {self.backend}",
                "link set veth1 master cni0",
                "link set veth2 master cni0",
                *(f"link set {name} up" for name in ("veth1", "veth2", "cni0", "eth0", "eth1")),
            ]
        }
        for namespace in self._made[1:]:
            lines[namespace] = ["link set lo up", "link set eth0 up"]
        for site in self.sites.values():
            length, host = site.prefix_length, 32 if site.family is Family.IPV4 else 128
            lines[self.node] += [
                f"address add {site.bridge}/{length} dev cni0",
                f"address add {site.node_outside}/{length} dev eth0",
                f"address add {site.node_backend}/{length} dev eth1",
                f"address add {site.node_extra}/{host} dev lo",
                f"route add default via {site.outside[0]}",
                *(f"route add {service} via {site.backends[0]}" for service in (*site.services, *site.more_backends)),
            ]
            for namespace, addresses, gateway in (
                (self.client, site.pods, site.bridge),
                (self.server, (site.server, *site.more_pods), site.bridge),
                (self.outside, (*site.outside, *site.more_outside), site.node_outside),
                (self.backend, site.backends, site.node_backend),
            ):
                lines[namespace] += [f"address add {address}/{length} dev eth0" for address in addresses]
                lines[namespace].append(f"route add default via {gateway}")
            lines[self.outside] += [f"route add {address} via {site.node_outside}" for address in site.more_backends]
            lines[self.backend] += [
                f"address add {address}/{host} dev lo" for address in (*site.services, *site.more_backends)
            ]
        for namespace, commands in lines.items():
            _run("ip", "-n", namespace, "-batch", "-", text="\n".join(commands) + "\n")

    def network(self, family: Family) -> NodeNetwork:
        """The node's network as kdiag sees it: from what `ip` prints."""
        flag = "-4" if family is Family.IPV4 else "-6"
        interfaces, addresses = parse_interfaces(_recording(_run("ip", "-n", self.node, "-d", "-j", "address")))
        routes = parse_routes(_recording(_run("ip", "-n", self.node, "-j", flag, "route")), family)
        site = self.sites[family]
        pod_cidr = parse_network(f"{site.bridge}/{site.prefix_length}")
        assert pod_cidr is not None
        node = Node(meta=Metadata(key=ObjectKey(namespace="", name="node")), pod_cidrs=(pod_cidr,))
        return node_network(family, HostFacts(addresses=addresses, interfaces=interfaces, routes=routes), node, ())

    # -- rules ---------------------------------------------------------------------------------------------------

    def load(self, family: Family, backend: str, text: str) -> str:
        """Load rules on the node; return what the matching save command prints then."""
        command = f"{COMMANDS[family]}-{backend}"
        wait = ("--wait=20",) if backend == "legacy" else ()
        _run("ip", "netns", "exec", self.node, f"{command}-restore", *wait, text=text)
        return _run("ip", "netns", "exec", self.node, f"{command}-save")

    def load_nft(self, text: str) -> str:
        """Put these nft tables in the place of all that are there; return what `nft -j list ruleset` prints then."""
        _run("ip", "netns", "exec", self.node, "nft", "-f", "-", text=f"flush ruleset\n{text}")
        return _run("ip", "netns", "exec", self.node, "nft", "-j", "list", "ruleset")

    def load_nft_json(self, text: str) -> str:
        """The same with what `nft -j list ruleset` printed before."""
        self.load_nft("")
        _run("ip", "netns", "exec", self.node, "nft", "-j", "-f", "-", text=text)
        return _run("ip", "netns", "exec", self.node, "nft", "-j", "list", "ruleset")

    def forget_clients(self) -> None:
        """Empty what remembers clients: sets that rules write to, and the lists of `recent`."""
        found = json.loads(_run("ip", "netns", "exec", self.node, "nft", "-j", "list", "sets"))
        sets = [item["set"] for item in found["nftables"] if "set" in item]
        flush = [f"flush set {item['family']} {item['table']} {item['name']}" for item in sets if "timeout" in item]
        _run("ip", "netns", "exec", self.node, "nft", "-f", "-", text="\n".join(flush))
        clear = 'for list in /proc/net/xt_recent/*; do [ ! -e "$list" ] || echo / > "$list"; done'
        _run("ip", "netns", "exec", self.node, "sh", "-c", clear)

    def make_sets(self, text: str) -> str:
        """Make ipsets on the node, if it has none yet; return what `ipset save` prints then."""
        _run("ip", "netns", "exec", self.node, "ipset", "-exist", "restore", text=text)
        return _run("ip", "netns", "exec", self.node, "ipset", "save")

    def accepts(self, family: Family, backend: str, text: str) -> bool:
        """True if the kernel and the tools here know all that the rules use."""
        try:
            self.load(family, backend, text)
        except LabError:
            return False
        return True

    # -- traffic -------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for namespace in (self.node, self.server, self.backend):
            with _inside(namespace):
                for family in (socket.AF_INET, socket.AF_INET6):
                    for number in PORTS:
                        listener = socket.socket(family, socket.SOCK_STREAM)
                        self._listeners.append(listener)
                        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        if family == socket.AF_INET6:
                            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        listener.bind(("", number))
                        listener.listen(64)
                        listener.setblocking(False)
        for namespace in (self.node, self.client, self.outside):
            with _inside(namespace):
                errors = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
                errors.setblocking(False)
                self._errors.append(errors)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Tell every caller which address and port it reached, and which source address was seen."""
        with selectors.DefaultSelector() as selector:
            for listener in self._listeners:
                selector.register(listener, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select(timeout=0.1):
                    listener = _socket(key)
                    with contextlib.suppress(OSError):
                        connection, peer = listener.accept()
                        with connection:
                            here = connection.getsockname()
                            connection.sendall(json.dumps([here[0], here[1], peer[0]]).encode())

    def send(self, probes: Sequence[Probe], timeout_s: float = ANSWER_S) -> list[Seen]:
        """Make all connections at once and see how each ends."""
        results = [Seen() for _ in probes]
        sockets: dict[socket.socket, int] = {}
        by_port: dict[int, socket.socket] = {}
        waiting: set[socket.socket] = set()
        texts: dict[int, bytes] = {}
        namespaces = {Position.POD: self.client, Position.EXTERNAL: self.outside, Position.NODE: self.node}
        with selectors.DefaultSelector() as selector:
            for errors in self._errors:
                self._refused_ports(errors)
                selector.register(errors, selectors.EVENT_READ)
            for position, namespace in namespaces.items():
                with _inside(namespace):
                    for index, probe in enumerate(probes):
                        if probe.position is position:
                            caller, number, refused = self._call(probe)
                            sockets[caller] = index
                            by_port[number] = caller
                            if refused:
                                results[index] = Seen(refused=True)
                            else:
                                waiting.add(caller)
                                selector.register(caller, selectors.EVENT_WRITE)
            deadline = time.monotonic() + timeout_s
            while waiting and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(timeout=left):
                    caller = _socket(key)
                    if caller in self._errors:
                        for number in self._refused_ports(caller):
                            if number in by_port and results[sockets[by_port[number]]] == Seen():
                                results[sockets[by_port[number]]] = Seen(refused=True)
                                waiting.discard(by_port[number])
                    elif self._advance(caller, sockets[caller], texts, results, selector):
                        waiting.discard(caller)
        for caller in sockets:
            # A reset frees the connection's entry in the node's table at once.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.close()
        return results

    def _refused_ports(self, errors: socket.socket) -> list[int]:
        """Source ports of the packets that ICMPv6 says could not be delivered.

        Read from the wire: an error that comes back before connect() has let go of its socket, as it does between
        namespaces, is lost to that socket (tcp_v6_err), and the next one would answer TCP's second attempt.
        """
        found: list[int] = []
        while True:
            try:
                message = errors.recv(2048)
            except BlockingIOError:
                return found
            # Type 1: destination unreachable. 8 bytes of ICMPv6, 40 of the packet's IPv6 header, then TCP's ports.
            if len(message) >= 50 and message[0] == 1 and message[14] == socket.IPPROTO_TCP:
                found.append(struct.unpack("!H", message[48:50])[0])

    def _call(self, probe: Probe) -> tuple[socket.socket, int, bool]:
        """Start a connection: its socket and source port, and True if it was refused at once."""
        family = socket.AF_INET6 if ":" in probe.destination else socket.AF_INET
        caller = socket.socket(family, socket.SOCK_STREAM)
        caller.setblocking(False)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A port of its own for every connection, so that none meets an entry that an earlier rule set left behind.
        self._next_port = self._next_port + 1 if self._next_port < 60000 else 20001
        caller.bind((probe.source, self._next_port))
        code = caller.connect_ex((probe.destination, probe.port))
        if code not in (0, errno.EINPROGRESS, errno.ECONNREFUSED):
            raise LabError(f"{probe}: {os.strerror(code)}")
        return caller, self._next_port, code == errno.ECONNREFUSED

    def _advance(
        self,
        caller: socket.socket,
        index: int,
        texts: dict[int, bytes],
        results: list[Seen],
        selector: selectors.BaseSelector,
    ) -> bool:
        """One event of one connection; True once it has ended."""
        if index not in texts:
            code = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                selector.unregister(caller)
                results[index] = Seen(refused=True)
                return True
            texts[index] = b""
            selector.modify(caller, selectors.EVENT_READ)
            return False
        try:
            part = caller.recv(4096)
        except OSError:
            part = b""
        texts[index] += part
        if part:
            return False
        selector.unregister(caller)
        if texts[index]:
            address, number, peer = json.loads(texts[index])
            results[index] = Seen(answer=(_plain(address), number, _plain(peer)))
        return True


def _socket(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def _plain(text: str) -> str:
    return str(ipaddress.ip_address(text.partition("%")[0]))


def _recording(text: str) -> Recording:
    return Recording(source="lab", content=text.encode())
