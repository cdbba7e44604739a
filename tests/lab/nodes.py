"""Real nodes to log in to: a network namespace, an own view of the file system and a real sshd for each.

    client (this process) ── br0 ── node (its own address, processes, /tmp, /run, users, programs, rules)

Traffic stays inside these namespaces, and nothing of the machine is changed: what a node has of its own is mounted in
its mount namespace. The names of namespaces end in the number of the process, so that runs do not meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
LEGACY_PROGRAMS = tuple(f"{family}{part}" for family in ("iptables", "ip6tables") for part in ("", "-save", "-restore"))
NEEDED = (
    *("curl", "ip", "ipset", "iptables-legacy-restore", "iptables-nft-restore", "iptables-save", "mount", "nft"),
    *("nsenter", "pkill", "setpriv", "ssh-keygen", "sudo", "unshare"),
)
PACKAGES = "openssh-server sudo iptables nftables ipset iproute2 procps curl"
SSHD = "/usr/sbin/sshd"
NETWORK = "10.77.0"
RECORDED_NETWORK = "192.168.56"
"""Where the nodes of the recorded clusters are."""
USER = "kdiag"
USER_ID = 10771
"""A user that may use sudo without a password."""
PLAIN_USER = "nobody-much"
"""One that may not."""

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-6E7XQMQ4RAYOWTTM - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE
-A KUBE-SEP-6E7XQMQ4RAYOWTTM -s 192.168.56.10/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-6E7XQMQ4RAYOWTTM -p tcp -m tcp -j DNAT --to-destination 192.168.56.10:6443
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-SVC-NPX46M4PTMTKRN6Y -m comment --comment "default/kubernetes:https -> 192.168.56.10:6443" -j KUBE-SEP-6E7XQMQ4RAYOWTTM
COMMIT
"""

END_SSHD = """\
printf '*nat\\n:PREROUTING ACCEPT [0:0]\\n'
sleep 0.5
for process in /proc/[0-9]*; do
  case ${process#/proc/},$(tr '\\000' ' ' <$process/cmdline) in
    1,*) ;;
    *,sshd:*) kill -9 ${process#/proc/} ;;
  esac
done
"""
"""A program that begins to print rules and then ends all sessions of sshd, its own included."""

# $1 is the node's directory. /mnt becomes that directory, and /usr/sbin one with the programs that the node has.
_START = r"""
set -e
mount --bind "$1" /mnt
mount --rbind /usr/sbin /mnt/real-sbin
mount --bind /mnt/sbin /usr/sbin
for file in passwd group shadow sudoers; do mount --bind "/mnt/etc/$file" "/etc/$file"; done
# A file that cannot be run, in place of a program that the node has not.
while read -r program; do mount --bind /mnt/hidden "$program"; done </mnt/hidden
for directory in /run /tmp /var/tmp /home /root; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
chmod 1777 /tmp /var/tmp
mkdir /run/sshd
for user in kdiag:10771 nobody-much:10772; do
  mkdir "/home/${user%:*}"
  [ ! -e /mnt/bashrc ] || cp /mnt/bashrc "/home/${user%:*}/.bashrc"
  chown -R "${user#*:}" "/home/${user%:*}"
done
ip link set lo up
exec /usr/sbin/sshd -D -e -f /mnt/sshd_config 2>/mnt/sshd.log
"""

_SSHD_CONFIG = """\
HostKey /mnt/host_key
AuthorizedKeysFile /mnt/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PidFile none
PrintMotd no
Banner /mnt/banner
LogLevel VERBOSE
UseDNS no
MaxStartups 200
"""


class LabError(Exception):
    """The lab cannot be made here; the text says why."""


def why_not() -> str | None:
    """Why there can be no lab on this machine; None if there can."""
    if os.geteuid() != 0:
        return "the lab of nodes needs root"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if not os.path.exists(SSHD):
        missing.append("sshd")
    if missing:
        return f"the lab of nodes needs {', '.join(missing)}: apt-get install {PACKAGES}"
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return f"namespaces cannot be made here: {probe.stderr.strip()}" if probe.returncode else None


@dataclass(slots=True)
class LabNode:
    """One node. `directory` is what it sees as /mnt."""

    node: str
    address: str
    namespace: str
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def inner_pid(self) -> int:
        """The number of its sshd, as seen from outside."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def run(self, *command: str, text: str | None = None) -> str:
        """A command run as root inside the node; its standard output."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.inner_pid), "--all", *command],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A command that goes on inside the node."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.inner_pid), "--all", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for(self, address: str) -> None:
        """Until an HTTP server inside the node answers."""
        self.run("curl", "-s", "--retry", "50", "--retry-delay", "0", "--retry-connrefused", "-m", "10", address)

    def run_in_network(self, *command: str) -> str:
        """A command run in its network namespace only: a node without sshd has no other."""
        return _in(self.namespace, *command)

    def host_key(self) -> str:
        """Its public host key, without a comment."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def state(self) -> dict[str, str]:
        """All that a run may not change: rules, loaded tables, sets, processes, files."""
        files = "find /tmp /run /var/tmp /home /root /mnt/etc -printf '%p %y %s %T@\\n' | sort"
        return {
            "nft": self.run("nft", "list", "ruleset"),
            "legacy tables": self.run("sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"),
            "modules": self.run("sh", "-c", "cat /proc/modules 2>/dev/null || true"),
            "links": self.run("ip", "link"),
            "processes": "\n".join(
                sorted(
                    self.run("sh", "-c", "for p in /proc/[0-9]*; do cat $p/comm; done 2>/dev/null; true").split("\n")
                )
            ),
            "files": self.run("sh", "-c", files),
        }


class Lab:
    """Nodes on one bridge. The process that makes it is in the client's network namespace while it lasts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "id_ed25519"
        self._suffix = str(os.getpid())
        self._nodes: list[LabNode] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
            client = self._namespace("client", stack)
            _in(client, "ip", "link", "add", "br0", "type", "bridge")
            for network in (NETWORK, RECORDED_NETWORK):
                _in(client, "ip", "addr", "add", f"{network}.1/24", "dev", "br0")
            _in(client, "ip", "link", "set", "br0", "up")
            _in(client, "ip", "link", "set", "lo", "up")
            stack.enter_context(_inside(client))
            stack.callback(self._end_nodes)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def start(
        self,
        node: str,
        *,
        hide: Sequence[str] = (),
        programs: Mapping[str, str] | None = None,
        bashrc: str | None = None,
        banner: str = "",
        rules: str = RULES,
        backend: str = "nft",
        sudoers: str = f"{USER} ALL=(root) NOPASSWD: ALL\n",
        sshd: bool = True,
        address: str | None = None,
    ) -> LabNode:
        """A node with its sshd. Its `address`, if not the next free one, is in RECORDED_NETWORK.

        `hide` are programs that it has not, `programs` shell scripts that stand in /usr/sbin instead, `bashrc` what the
        users' shells run first. `backend` (nft, legacy) is what its iptables is and where its rules are. Without `sshd`
        only the address is there.
        """
        made = self._place(node, address)
        if not sshd:
            return made
        home = made.directory
        for name in ("real-sbin", "sbin", "etc"):
            (home / name).mkdir()
        legacy = LEGACY_PROGRAMS if backend == "legacy" else ()
        for path in Path("/usr/sbin").iterdir():
            if path.name not in {*hide, *(programs or {}), *legacy}:
                (home / "sbin" / path.name).symlink_to(f"/mnt/real-sbin/{path.name}")
        for program in set(legacy) - {*hide, *(programs or {})}:
            (home / "sbin" / program).symlink_to("/mnt/real-sbin/xtables-legacy-multi")
        found = (shutil.which(program, path="/usr/bin") for program in hide)
        (home / "hidden").write_text("".join(f"{path}\n" for path in found if path is not None))
        for program, text in (programs or {}).items():
            (home / "sbin" / program).write_text(f"#!/bin/sh\n{text}\n")
            (home / "sbin" / program).chmod(0o755)
        if bashrc is not None:
            (home / "bashrc").write_text(bashrc)
        (home / "banner").write_text(banner)
        (home / "authorized_keys").write_text((self.directory / "id_ed25519.pub").read_text())
        (home / "authorized_keys").chmod(0o644)
        self._users(home / "etc", sudoers)
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "host_key"))
        (home / "sshd_config").write_text(f"{_SSHD_CONFIG}ListenAddress {made.address}\n")
        if rules:
            _in(made.namespace, f"iptables-{backend}-restore", text=rules)
        made.process = subprocess.Popen(
            # --kill-child: with the first process of its namespace the whole node ends.
            [
                *("ip", "netns", "exec", made.namespace),
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", _START, "sh", str(home)),
            ],
            stdin=subprocess.DEVNULL,
        )
        _until_it_answers(made)
        return made

    def _place(self, node: str, address: str | None) -> LabNode:
        number = len(self._nodes) + 11
        namespace = self._namespace(str(number), self._stack)
        directory = self.directory / f"{number}-{node}"
        directory.mkdir()
        made = LabNode(node=node, address=address or f"{NETWORK}.{number}", namespace=namespace, directory=directory)
        self._nodes.append(made)
        outer = f"v{number}"
        _call("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _call("ip", "link", "set", outer, "master", "br0", "up")
        _in(namespace, "ip", "addr", "add", f"{made.address}/24", "dev", "eth0")
        _in(namespace, "ip", "link", "set", "eth0", "up")
        return made

    def _namespace(self, slug: str, stack: contextlib.ExitStack) -> str:
        namespace = f"kdlab-{slug}-{self._suffix}"
        _call("ip", "netns", "add", namespace)
        stack.callback(_call, "ip", "netns", "delete", namespace)
        return namespace

    def _users(self, etc: Path, sudoers: str) -> None:
        password = _call("openssl", "passwd", "-6", "correct horse").strip() if shutil.which("openssl") else "*"
        lines = {"passwd": "", "group": "", "shadow": ""}
        for user, number in ((USER, USER_ID), (PLAIN_USER, 10772)):
            lines["passwd"] += f"{user}:x:{number}:{number}::/home/{user}:/bin/bash\n"
            lines["group"] += f"{user}:x:{number}:\n"
            lines["shadow"] += f"{user}:{password}:19000:0:99999:7:::\n"
        for file, text in lines.items():
            (etc / file).write_text(Path("/etc", file).read_text() + text)
        (etc / "shadow").chmod(0o640)
        (etc / "sudoers").write_text(f"root ALL=(ALL) ALL\n{sudoers}")
        (etc / "sudoers").chmod(0o440)

    def _end_nodes(self) -> None:
        for node in self._nodes:
            for process in node.background:
                process.kill()
                process.wait()
            if node.process is not None:
                node.process.kill()
                node.process.wait()


def _until_it_answers(node: LabNode) -> None:
    assert node.process is not None
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if node.process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((node.address, 22), timeout=1) as sock:
            if sock.recv(4) == b"SSH-":
                return
        time.sleep(0.03)
    log = node.directory / "sshd.log"
    raise LabError(f"the sshd of {node.node} does not answer: {log.read_text() if log.exists() else 'it has no log'}")


@contextlib.contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread, and those that it starts, in a network namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as before, open(f"/run/netns/{namespace}") as wanted:
        if library.setns(wanted.fileno(), CLONE_NEWNET):
            raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            library.setns(before.fileno(), CLONE_NEWNET)


def _call(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _in(namespace: str, *command: str, text: str | None = None) -> str:
    return _call("ip", "netns", "exec", namespace, *command, text=text)
