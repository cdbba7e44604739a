"""How much CPU and memory gathering many nodes over SSH costs, as a ratio to bare paramiko in the same run.

    .venv/bin/python -m bench.gather [--json] [--nodes 200] [--rounds 5] [--parallel 32]

Every node is a real sshd with its own address and host key; what a session runs there gets fresh network and process
namespaces, so that the dump is as small as one can be. Bare is paramiko.Transport and nothing else: connect, compare the
host key, log in with a key that was read before, run `true`, close. kdiag is what a live run does with the same nodes:
`gather_nodes` over the SSH transport with the files of host keys and of the private key, and redaction.

Each measurement is a process of its own, and bare and kdiag take turns; medians are compared. CPU is that of this client
process (user and system) from the first connection to the last, without the imports and without the servers.

Needs root (for namespaces), sshd, unshare and iptables-save (a node without is a gap); says so and ends if one is missing.
"""

from __future__ import annotations

import argparse
import fcntl
import getpass
import json
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

SBIN = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where programs of root are that stand in nobody's PATH."""
SSHD = shutil.which("sshd", path=SBIN)
NEEDED = ("unshare", "mount", "iptables-save")
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
INSIDE = "KDIAG_BENCH_INSIDE"
ADDRESS = "127.77.{}.{}"
KINDS = ("bare", "kdiag")

# The command of a session, in namespaces of its own: what a node that has just been made would show.
SSHD_CONFIG = """\
ListenAddress {address}
HostKey {directory}/host_key_{number}
AuthorizedKeysFile {directory}/id.pub
ForceCommand exec unshare --net --mount-proc --pid --fork --kill-child sh -c "$SSH_ORIGINAL_COMMAND"
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
PidFile none
PrintMotd no
UseDNS no
LogLevel ERROR
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One pass over all nodes. `size_bytes` is the text that came, before compression."""

    cpu_s: float
    wall_s: float
    rss_before_kib: int
    rss_peak_kib: int
    answered: int
    gaps: tuple[str, ...] = ()
    size_bytes: int = 0


def why_not() -> str | None:
    """Why this cannot be measured here; None if it can."""
    if os.geteuid() != 0:
        return "it makes namespaces, which needs root"
    places = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    missing = [program for program in NEEDED if shutil.which(program, path=places) is None]
    if SSHD is None:
        missing.append("sshd")
    if missing:
        return f"it needs {', '.join(missing)}: apt-get install openssh-server iptables"
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"namespaces cannot be made here: {probe.stderr.strip()}" if probe.returncode else None


def addresses(number_of_nodes: int) -> list[str]:
    return [ADDRESS.format(number // 250, number % 250 + 1) for number in range(number_of_nodes)]


# The nodes


def serve(directory: Path, number_of_nodes: int) -> None:
    """Starts all sshd in this process namespace, with which they end."""
    assert SSHD is not None
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/sshd").mkdir(mode=0o755)
    _loopback_up()
    _write_key(directory / "id")
    known: list[str] = []
    for number, address in enumerate(addresses(number_of_nodes)):
        known.append(f"{address} {_write_key(directory / f'host_key_{number}')}\n")
        config = directory / f"sshd_{number}"
        config.write_text(SSHD_CONFIG.format(address=address, directory=directory, number=number))
        command = [SSHD, "-D", "-E", str(directory / "log"), "-f", str(config)]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    (directory / "known_hosts").write_text("".join(known))
    (directory / "ssh_config").touch()
    deadline = time.monotonic() + 60
    for address in addresses(number_of_nodes):
        while True:
            try:
                socket.create_connection((address, 22), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit(f"the sshd at {address} does not start: {(directory / 'log').read_text()[:500]}")
                time.sleep(0.05)


def _loopback_up() -> None:
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        name, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, get_flags, struct.pack("16sh", b"lo", 0)))
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh", name, flags | up))


def _write_key(file: Path) -> str:
    """Makes a pair of keys and returns the public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    openssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    public = key.public_key().public_bytes(*openssh).decode()
    file.with_name(f"{file.name}.pub").write_text(f"{public}\n")
    return public


# What is measured


def measure(kind: str, directory: Path, number_of_nodes: int, parallel: int) -> Measured:
    """One pass over all nodes in this very process."""
    if kind == "bare":
        import paramiko  # noqa: F401 - importing is not what is measured
    else:
        import kdiag.gather.collect
        import kdiag.gather.transports.ssh  # noqa: F401
    rss_before_kib = _status_kib("VmRSS")
    started = time.monotonic()
    cpu_before_s = _cpu_s()
    answered, gaps, size_bytes = (_bare if kind == "bare" else _kdiag)(directory, number_of_nodes, parallel)
    return Measured(
        cpu_s=_cpu_s() - cpu_before_s,
        wall_s=time.monotonic() - started,
        rss_before_kib=rss_before_kib,
        rss_peak_kib=_status_kib("VmHWM"),
        answered=answered,
        gaps=gaps,
        size_bytes=size_bytes,
    )


def _bare(directory: Path, number_of_nodes: int, parallel: int) -> tuple[int, tuple[str, ...], int]:
    import paramiko

    key = paramiko.Ed25519Key.from_private_key_file(str(directory / "id"))
    known = paramiko.HostKeys(str(directory / "known_hosts"))
    user = getpass.getuser()

    def ask(address: str) -> bool:
        transport = paramiko.Transport((address, 22))
        try:
            transport.connect(hostkey=known[address]["ssh-ed25519"], username=user, pkey=key)
            channel = transport.open_session()
            channel.exec_command("true")
            return channel.recv_exit_status() == 0
        finally:
            transport.close()

    with ThreadPoolExecutor(parallel) as pool:
        return sum(pool.map(ask, addresses(number_of_nodes))), (), 0


def _kdiag(directory: Path, number_of_nodes: int, parallel: int) -> tuple[int, tuple[str, ...], int]:
    from kdiag.gather.fanout import gather_nodes
    from kdiag.gather.redact import redact
    from kdiag.gather.script import Sudo
    from kdiag.gather.ssh_settings import SshSettings
    from kdiag.gather.transports import NodeAddress, transport_of

    settings = SshSettings(
        key_file=str(directory / "id"),
        known_hosts=(directory / "known_hosts",),
        config_file=directory / "ssh_config",
        use_agent=False,
        # Two processors may be at 32 handshakes for longer than the usual ten seconds: that is not what is measured.
        connect_timeout_s=60,
    )
    transport = transport_of("ssh", settings)
    nodes = [
        NodeAddress(node=f"node{number:03}", host=address) for number, address in enumerate(addresses(number_of_nodes))
    ]
    try:
        recordings, gaps = gather_nodes(
            nodes,
            transport,
            parallel=parallel,
            timeout_s=120,
            deadline_s=None,
            progress=None,
            sudo=Sudo.IF_NEEDED,
            cancelled=threading.Event(),
        )
    finally:
        transport.close()
    size_bytes = sum(len(redact(item.content)) for probes in recordings.values() for item in probes.values())
    return len(recordings), tuple(f"{gap.node}: {gap.subject}: {gap.reason}" for gap in gaps), size_bytes


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


# The run


def take_turns(directory: Path, number_of_nodes: int, rounds: int, parallel: int) -> dict[str, list[Measured]]:
    measured: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS if number % 2 == 0 else reversed(KINDS):
            command = [sys.executable, "-m", "bench.gather", "--measure", kind, "--directory", str(directory)]
            command += ["--nodes", str(number_of_nodes), "--parallel", str(parallel)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            measured[kind].append(Measured(**json.loads(done.stdout)))
    return measured


def tell(measured: dict[str, list[Measured]], number_of_nodes: int, rounds: int, parallel: int) -> None:
    print(f"{number_of_nodes} nodes, {parallel} at a time, median of {rounds} rounds")
    print(
        f"{'':<8}{'CPU ms a node':>14}{'seconds':>9}{'RSS before':>12}{'peak':>9}{'growth':>9}{'answered':>10}{'gaps':>6}"
    )
    for kind, passes in measured.items():
        before, peak = (
            statistics.median(value) / 1024
            for value in zip(*((item.rss_before_kib, item.rss_peak_kib) for item in passes), strict=True)
        )
        print(
            f"{kind:<8}{_cpu_ms(passes, number_of_nodes):14.2f}{statistics.median(item.wall_s for item in passes):9.1f}"
            f"{before:8.1f} MiB{peak:5.1f} MiB{peak - before:5.1f} MiB"
            f"{min(item.answered for item in passes):10}{max(len(item.gaps) for item in passes):6}"
        )
    ratio = _cpu_ms(measured["kdiag"], number_of_nodes) / _cpu_ms(measured["bare"], number_of_nodes)
    by_round = sorted(ours.cpu_s / bare.cpu_s for bare, ours in zip(measured["bare"], measured["kdiag"], strict=True))
    size_bytes = statistics.median(item.size_bytes for item in measured["kdiag"]) / number_of_nodes
    print(
        f"ratio {ratio:.2f} (by round {by_round[0]:.2f} to {by_round[-1]:.2f}); {size_bytes / 1024:.1f} KiB of text a node"
    )
    for gap in sorted({gap for item in measured["kdiag"] for gap in item.gaps})[:5]:
        print(f"gap: {gap}")


def _cpu_ms(passes: list[Measured], number_of_nodes: int) -> float:
    return statistics.median(item.cpu_s for item in passes) / number_of_nodes * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print what was measured, for bench/entries/gather.py")
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(asdict(measure(given.measure, given.directory, given.nodes, given.parallel))))
        return
    if INSIDE not in os.environ:
        reason = why_not()
        if reason is not None:
            print(f"skipped: {reason}")
            return
        inside = [*UNSHARE, sys.executable, "-m", "bench.gather", *sys.argv[1:]]
        os.execvpe("unshare", inside, {**os.environ, INSIDE: "1"})
    with tempfile.TemporaryDirectory(prefix="kdiag-bench-") as directory:
        serve(Path(directory), given.nodes)
        measured = take_turns(Path(directory), given.nodes, given.rounds, given.parallel)
    if given.json:
        print(json.dumps({kind: [asdict(item) for item in passes] for kind, passes in measured.items()}))
    else:
        tell(measured, given.nodes, given.rounds, given.parallel)


if __name__ == "__main__":
    main()
