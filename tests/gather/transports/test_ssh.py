"""SSH against a real sshd on the loopback interface, run by whoever runs the tests; tests/lab has whole nodes."""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
import pytest

from kdiag.errors import KdiagError
from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import FailureKind, NodeAddress, NodeFailure, Output
from kdiag.gather.transports.ssh import SshTransport

SSHD = "/usr/sbin/sshd"
END_SESSION = """\
echo begun
sleep 1
process=$PPID
until case $(cat /proc/$process/comm) in sshd*) true ;; *) false ;; esac do
  process=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$process/status)
done
kill -9 "$process"
sleep 5
"""
"""Kills the sshd that serves this very session."""

pytestmark = pytest.mark.skipif(
    not os.path.exists(SSHD) or shutil.which("ssh-keygen") is None, reason="there is no sshd: install openssh-server"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running sshd, and settings that let its own user in."""

    directory: Path
    port_number: int
    settings: SshSettings

    @property
    def host_key(self) -> str:
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def run(self, script: str = "echo well; exit 0\n", *, host: str = "127.0.0.1", **changes: Any) -> Output:
        given = {key: changes.pop(key) for key in ("timeout_s", "max_bytes", "on_bytes") if key in changes}
        transport = SshTransport(replace(self.settings, **changes))
        try:
            return transport.run(
                NodeAddress(node="n1", host=host),
                script,
                **{"timeout_s": 10, "max_bytes": 1 << 20, "on_bytes": lambda count: None, **given},
            )
        finally:
            transport.close()

    def failure(self, **changes: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as caught:
            self.run(**changes)
        assert caught.value.hint
        return caught.value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("sshd")
    for key in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port_number = probe.getsockname()[1]
    (directory / "config").write_text(
        f"Port {port_number}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/id.pub\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nMaxAuthTries 3\n"
    )
    (directory / "ssh_config").touch()
    command = [SSHD, "-D", "-e", "-f", str(directory / "config")]
    if os.geteuid() == 0:  # root's sshd wants /run/sshd, which is there only where the service runs
        script = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port_number), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.skip(f"sshd does not start here: {process.stderr.read().decode()[:200]}")
        known = directory / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port_number} {(directory / 'host_key.pub').read_text()}")
        yield Server(
            directory=directory,
            port_number=port_number,
            settings=SshSettings(
                user=getpass.getuser(),
                port_number=port_number,
                key_file=str(directory / "id"),
                known_hosts=(known,),
                config_file=directory / "ssh_config",
                use_agent=False,
                connect_timeout_s=3,
            ),
        )
    finally:
        process.terminate()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def known(server: Server, tmp_path: Path) -> Path:
    """A known_hosts file to write to."""
    return tmp_path / "known_hosts"


def test_output_status_and_bytes(server: Server) -> None:
    ticks: list[int] = []
    output = server.run("echo out; echo err >&2; sleep 0.6; exit 3\n", on_bytes=ticks.append)
    assert output == Output(stdout=b"out\n", exit_status=3, stderr="err\n")
    assert sum(ticks) == 4
    assert ticks.count(0) >= 2


def test_hung_command_ends_when_the_channel_closes(server: Server, tmp_path: Path) -> None:
    script = f"exec 9<&0; {{ ( read -r line; touch {tmp_path}/closed; kill 0 ) <&9 & echo begun; sleep 1000; }}\n"
    failure = server.failure(script=script, timeout_s=0.8)
    assert failure.kind is FailureKind.HUNG
    assert failure.output == Output(stdout=b"begun\n")
    deadline = time.monotonic() + 5
    while not (tmp_path / "closed").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "closed").exists()


def test_too_much(server: Server) -> None:
    assert server.failure(script="yes\n").kind is FailureKind.TOO_MUCH


def test_connection_that_is_cut(server: Server) -> None:
    failure = server.failure(script=END_SESSION)
    assert failure.kind is FailureKind.CUT
    assert failure.output == Output(stdout=b"begun\n")


def test_unknown_key(server: Server, known: Path) -> None:
    failure = server.failure(known_hosts=(known,))
    assert failure.kind is FailureKind.UNKNOWN_HOST_KEY
    assert f"`ssh-keyscan -p {server.port_number} 127.0.0.1 >> {known}`" in failure.hint
    assert not known.exists()


def test_key_known_without_the_port(server: Server, known: Path) -> None:
    known.write_text(f"127.0.0.1 {server.host_key}\n")
    assert server.run(known_hosts=(known,)).stdout == b"well\n"


def test_known_key_of_another_kind_is_a_changed_one(server: Server, known: Path) -> None:
    blob = base64.b64encode(b"\0\0\0\x07ssh-rsa" + bytes(20)).decode()
    known.write_text(f"[127.0.0.1]:{server.port_number} ssh-rsa {blob}\n")
    failure = server.failure(known_hosts=(known,), accept_new_host_keys=True)
    assert failure.kind is FailureKind.CHANGED_HOST_KEY
    assert f"{known}:1 has ssh-rsa" in failure.message
    assert known.read_text().count("\n") == 1


def test_revoked_key(server: Server, known: Path) -> None:
    known.write_text(f"@revoked * {server.host_key}\n[127.0.0.1]:{server.port_number} {server.host_key}\n")
    failure = server.failure(known_hosts=(known,))
    assert failure.kind is FailureKind.CHANGED_HOST_KEY
    assert f"is revoked in {known}:1" in failure.message


def test_new_key_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failure = server.failure(known_hosts=(tmp_path / "file" / "known",), accept_new_host_keys=True)
    assert failure.kind is FailureKind.UNKNOWN_HOST_KEY
    assert "cannot be written" in failure.message


def test_alias_and_proxy_command(server: Server, known: Path, tmp_path: Path) -> None:
    if shutil.which("nc") is None and shutil.which("socat") is None:
        command = f"python3 {tmp_path}/pipe.py %h %p"
        (tmp_path / "pipe.py").write_text(
            "import os, select, socket, sys\ns = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
            "while True:\n    for f in select.select([s, 0], [], [])[0]:\n"
            "        b = s.recv(65536) if f is s else os.read(0, 65536)\n        if not b: sys.exit()\n"
            "        os.write(1, b) if f is s else s.sendall(b)\n"
        )
    else:
        command = "nc %h %p" if shutil.which("nc") else "socat - TCP:%h:%p"
    config = tmp_path / "config"
    config.write_text(f"Host far\n  HostName 127.0.0.1\n  HostKeyAlias the-far-one\n  ProxyCommand {command}\n")
    known.write_text(f"the-far-one {server.host_key}\n")
    assert server.run(host="far", config_file=config, known_hosts=(known,)).stdout == b"well\n"
    known.write_text("")
    failure = server.failure(host="far", config_file=config, known_hosts=(known,))
    assert f"ssh -p {server.port_number} {getpass.getuser()}@far true" in failure.hint
    config.write_text("Host far\n  ProxyCommand false\n")
    failure = server.failure(host="far", config_file=config)
    assert failure.kind is FailureKind.NOT_SSH
    assert "through the ProxyCommand" in failure.message


def test_authentication(server: Server, tmp_path: Path) -> None:
    other, nonsense = tmp_path / "other", tmp_path / "nonsense"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    nonsense.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END OPENSSH PRIVATE KEY-----\n")
    failure = server.failure(key_file=str(other))
    assert failure.kind is FailureKind.AUTHENTICATION
    assert failure.message == (f"127.0.0.1 does not let {getpass.getuser()} in: key {other}")
    with_password = server.failure(key_file=str(other), password=lambda: "swordfish").message
    assert with_password.endswith(f"key {other}, the password")
    assert f"{nonsense} is not a private key" in server.failure(key_file=str(nonsense)).message
    assert f"there is no key {tmp_path}/none" in server.failure(key_file=str(tmp_path / "none")).message
    assert "cannot be read: Is a directory" in server.failure(key_file=str(tmp_path)).message


@pytest.fixture
def locked(server: Server, tmp_path: Path) -> Path:
    """The key that the server knows, encrypted."""
    file = tmp_path / "locked"
    shutil.copy(server.directory / "id", file)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(file)], check=True)
    return file


def test_encrypted_key_without_its_passphrase(server: Server, locked: Path) -> None:
    failure = server.failure(key_file=str(locked))
    assert failure.kind is FailureKind.AUTHENTICATION
    assert (
        f"there was nothing to try (the key {locked} is encrypted: add it to ssh-agent with `ssh-add {locked}`, or give its "
        "passphrase at --ssh-password-prompt)"
    ) in failure.message
    wrong = server.failure(key_file=str(locked), password=lambda: "open barley")
    assert f"the password (the key {locked} is encrypted, and not with the password that was given)" in wrong.message
    assert "barley" not in f"{wrong.message} {wrong.hint}"


def test_encrypted_key_with_its_passphrase_asked_for_once(server: Server, locked: Path) -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("open sesame")
        return asked[-1]

    transport = SshTransport(replace(server.settings, key_file=str(locked), password=ask))
    for _ in range(2):
        output = transport.run(
            NodeAddress(node="n1", host="127.0.0.1"), "exit 0\n", timeout_s=9, max_bytes=9, on_bytes=lambda count: None
        )
        assert output.exit_status == 0
    transport.close()
    assert asked == ["open sesame"]


def test_passphrase_is_never_sent_as_a_password(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(other)], check=True)
    failure = server.failure(key_file=str(other), password=lambda: "open sesame")
    assert failure.message == (
        f"127.0.0.1 does not let {getpass.getuser()} in: key {other} (what was asked for is the passphrase of {other}, and "
        "is not sent to hosts)"
    )


def test_certificate_authority_makes_no_key_known(server: Server, known: Path, tmp_path: Path) -> None:
    place = f"[127.0.0.1]:{server.port_number}"
    known.write_text(f"@cert-authority {place} {server.host_key}\n")
    failure = server.failure(known_hosts=(known,))
    assert failure.kind is FailureKind.UNKNOWN_HOST_KEY
    assert f"is known through a certificate authority only ({known}:1), and kdiag cannot check host" in failure.message
    assert failure.hint.endswith(
        f"add it beside the authority with `ssh-keyscan -p {server.port_number} 127.0.0.1 >> {known}`"
    )
    config = tmp_path / "config"
    config.write_text("Host far\n  HostName 127.0.0.1\n  HostKeyAlias the-far-one\n")
    known.write_text(f"@cert-authority the-far-one {server.host_key}\n")
    far = server.failure(host="far", config_file=config, known_hosts=(known,))
    assert f"`ssh -o HostKeyAlgorithms=ssh-ed25519 -p {server.port_number} {getpass.getuser()}@far true`" in far.hint
    known.write_text(f"@cert-authority {place} {server.host_key}\n{place} {server.host_key}\n")
    assert server.run(known_hosts=(known,)).stdout == b"well\n"
    known.write_text(f"@cert-authority {place} {server.host_key}\n")
    assert server.run(known_hosts=(known,), accept_new_host_keys=True).stdout == b"well\n"
    assert known.read_text().splitlines()[1] == f"{place} {server.host_key}"


def test_left_out_blocks_of_the_configuration_are_told(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Match exec 'touch {tmp_path}/ran'\n  HostName elsewhere\n")
    output = server.run(config_file=config)
    assert output.stdout == b"well\n"
    (remark,) = output.remarks
    assert remark.startswith(f"{config}:1: ")
    failure = server.failure(config_file=config, known_hosts=(tmp_path / "none",))
    assert failure.hint.endswith(f"; {remark}")
    assert not (tmp_path / "ran").exists()
    me = f"{getpass.getuser()}@127.0.0.2:{server.port_number}"
    config.write_text(f"Match host 127.0.0.2 exec 'touch {tmp_path}/ran'\n  HostName elsewhere\n")
    assert "127.0.0.2" in server.failure(config_file=config, jump=me).hint.rpartition("; ")[0]


def test_connection_ends_at_once_when_it_is_closed(server: Server) -> None:
    started = time.monotonic()
    failure = server.failure(script="echo begun; sleep 20\n", timeout_s=0.8)
    assert failure.kind is FailureKind.HUNG
    assert time.monotonic() - started < 4
    assert not [
        thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport) and thread.is_active()
    ]


def test_agent_keys_that_are_named_only(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("there is no ssh-agent")
    monkeypatch.setenv("HOME", str(tmp_path))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        deadline = time.monotonic() + 5
        while not (tmp_path / "agent").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", str(server.directory / "id")], check=True, capture_output=True)
        config = tmp_path / "config"
        config.write_text(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {tmp_path}/mine\n")
        asked: dict[str, Any] = {"key_file": None, "use_agent": True, "config_file": config}
        assert "there was nothing to try" in server.failure(**asked).message
        shutil.copy(server.directory / "id.pub", tmp_path / "mine.pub")
        assert server.run(**asked).stdout == b"well\n"
        config.write_text(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {tmp_path}/mine.pub\n")
        assert server.run(**asked).stdout == b"well\n"
    finally:
        agent.terminate()
        agent.wait()


def test_default_key_files(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    for source, target in (("id", "id_ed25519"), ("id", "id_rsa"), ("host_key", "id_ecdsa")):
        shutil.copy(server.directory / source, tmp_path / ".ssh" / target)
    assert server.run(key_file=None).stdout == b"well\n"
    shutil.copy(server.directory / "host_key", tmp_path / ".ssh" / "id_ed25519")
    assert server.run(key_file=None).stdout == b"well\n"


def test_agent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("there is no ssh-agent")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    assert "there was nothing to try" in server.failure(key_file=None, use_agent=True).message
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        deadline = time.monotonic() + 5
        while not (tmp_path / "agent").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        subprocess.run(["ssh-add", "-q", str(server.directory / "id")], check=True, capture_output=True)
        assert server.run(key_file=None, use_agent=True).stdout == b"well\n"
        for number in range(4):
            other = tmp_path / f"other{number}"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
            subprocess.run(["ssh-add", "-q", str(other)], check=True, capture_output=True)
        subprocess.run(["ssh-add", "-q", "-d", str(server.directory / "id")], check=True, capture_output=True)
        message = server.failure(key_file=None, use_agent=True).message
        assert "keys of ssh-agent (it closed the connection after these)" in message
    finally:
        agent.terminate()
        agent.wait()


def test_places_that_are_no_ssh_server(server: Server) -> None:
    assert server.failure(host="no-such-host.invalid").kind is FailureKind.UNRESOLVED
    assert "cannot be reached" in server.failure(host="255.255.255.255").message
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert server.failure(port_number=silent.getsockname()[1]).kind is FailureKind.REFUSED
        silent.listen()
        failure = server.failure(port_number=silent.getsockname()[1], connect_timeout_s=1)
        assert failure.kind is FailureKind.NOT_SSH
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            rude.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        failure = server.failure(port_number=rude.getsockname()[1])
        assert failure.kind is FailureKind.NOT_SSH
        assert "MaxStartups" in failure.hint


def test_jump_hosts(server: Server, tmp_path: Path) -> None:
    me = f"{getpass.getuser()}@127.0.0.1:{server.port_number}"
    config = tmp_path / "config"
    config.write_text(f"Host *\n  IdentityFile {server.directory}/id\n")
    for jump in (me, f"{me},{me}"):
        assert server.run(jump=jump, config_file=config).stdout == b"well\n"
    transport = SshTransport(replace(server.settings, jump=me, config_file=config))
    for _ in range(2):  # the second time over the connection that is there
        output = transport.run(
            NodeAddress(node="n1", host="127.0.0.1"), "exit 0\n", timeout_s=9, max_bytes=9, on_bytes=lambda count: None
        )
        assert output.exit_status == 0
    transport.close()
    with pytest.raises(KdiagError, match="is not a host to log in to"):
        server.run(jump="a b", config_file=config)
    config.write_text(f"Host *\n  ProxyJump {me}\n  IdentityFile {server.directory}/id\n")
    with pytest.raises(NodeFailure, match="too many jump hosts"):
        server.run(config_file=config)


def test_jump_host_that_fails_is_tried_once(server: Server, tmp_path: Path) -> None:
    attempts: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port_number = closed.getsockname()[1]

        def count() -> None:
            while True:
                try:
                    closed.accept()[0].close()
                    attempts.append("one")
                except OSError:
                    return

        threading.Thread(target=count, daemon=True).start()
        transport = SshTransport(replace(server.settings, jump=f"127.0.0.1:{port_number}"))
        for _ in range(3):
            with pytest.raises(NodeFailure) as caught:
                transport.run(
                    NodeAddress(node="n1", host="127.0.0.1"),
                    "exit 0\n",
                    timeout_s=5,
                    max_bytes=9,
                    on_bytes=lambda count: None,
                )
            assert caught.value.kind is FailureKind.JUMP_HOST
            assert caught.value.message.startswith("jump host 127.0.0.1: no SSH session came about")
        transport.close()
    assert len(attempts) == 1
