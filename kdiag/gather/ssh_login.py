"""Logging in to a host with SSH: the way there, and one connection for each node."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import paramiko

from kdiag.gather.known_hosts import KnownKey
from kdiag.gather.ssh_host_keys import HostKeys, preferred_key_types
from kdiag.gather.ssh_identity import Identity
from kdiag.gather.ssh_settings import Login, SshConfig, SshSettings, split_destination
from kdiag.gather.transports.interface import FailureKind, NodeAddress, NodeFailure

# paramiko logs what it also raises; without a handler of its own, logging would print that with a traceback.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_MAX_JUMPS = 8
_POLL_S = 1.0
"""How often paramiko's thread for a connection looks whether it was closed. It does so ten times a second by default,
which costs more than all else where hundreds of nodes take seconds to answer; `close_connection` does not wait for it."""
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ENETDOWN})

_Release = Callable[[], None]


class SshLogin:
    """Opens SSH connections to nodes; jump hosts, host keys and private keys are shared. For use by several threads."""

    def __init__(self, settings: SshSettings) -> None:
        self._config = SshConfig(settings)
        self._host_keys = HostKeys(accept_new=settings.accept_new_host_keys)
        self._identity = Identity(settings)
        self._jumps: dict[tuple[str, ...], paramiko.Transport | NodeFailure] = {}
        self._jump_locks: dict[tuple[str, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def login_for(self, address: NodeAddress) -> Login:
        """How the node is logged in to, with the remarks on its jump hosts.

        Raises UsageError for a configuration that cannot be followed.
        """
        login = self._config.login(
            address.host, user=address.user, port_number=address.port_number, key_file=address.key_file
        )
        remarks = dict.fromkeys([*login.remarks, *(text for hop in login.jumps for text in self._hop(hop).remarks)])
        return replace(login, remarks=tuple(remarks)) if remarks else login

    @contextlib.contextmanager
    def connection(self, login: Login, *, timeout_s: float) -> Iterator[paramiko.Transport]:
        """An authenticated connection, which is closed at the end. Raises NodeFailure.

        `timeout_s` is for all of logging in; reaching the host takes at most `login.connect_timeout_s` of it.
        """
        route = self._route(login, _MAX_JUMPS)
        transport, release = self._open(login, route, timeout_s=timeout_s)
        try:
            yield transport
        finally:
            close_connection(transport)
            release()

    def close(self) -> None:
        """Close the connections to jump hosts."""
        with self._lock:
            shared = list(self._jumps.values())
            self._jumps.clear()
        for jump in shared:
            if isinstance(jump, paramiko.Transport):
                close_connection(jump)

    # The way there

    def _route(self, login: Login, depth: int) -> paramiko.Transport | None:
        """The connection to the last jump host, None if the host is reached without one."""
        via: paramiko.Transport | None = None
        path: tuple[str, ...] = ()
        for hop in login.jumps:
            if depth == 0:
                raise NodeFailure(FailureKind.CONFIGURATION, f"too many jump hosts on the way to {login.host}")
            jump_login = self._hop(hop)
            if via is None:
                via = self._route(jump_login, depth - 1)
            path = (*path, hop)
            via = self._jump(path, jump_login, via)
        return via

    def _hop(self, destination: str) -> Login:
        """How a jump host is logged in to."""
        user, host, port_number = split_destination(destination.removeprefix("ssh://"))
        return self._config.login(host, user=user, port_number=port_number, through_options=False)

    def _jump(self, path: tuple[str, ...], login: Login, via: paramiko.Transport | None) -> paramiko.Transport:
        """The shared connection to a jump host. One that failed is not tried again: it would be for every node."""
        with self._lock:
            lock = self._jump_locks.setdefault(path, threading.Lock())
        with lock:
            known = self._jumps.get(path)
            if isinstance(known, paramiko.Transport) and known.is_active():
                return known
            if isinstance(known, NodeFailure):
                raise NodeFailure(known.kind, known.message, hint=known.hint)
            try:
                opened, _ = self._open(login, via, timeout_s=login.connect_timeout_s * 3)
            except NodeFailure as error:
                failure = NodeFailure(
                    FailureKind.JUMP_HOST, f"jump host {login.asked_host}: {error.message}", hint=error.hint
                )
                with self._lock:
                    self._jumps[path] = failure
                raise failure from None
            with self._lock:
                self._jumps[path] = opened
            return opened

    def _open(
        self, login: Login, via: paramiko.Transport | None, *, timeout_s: float
    ) -> tuple[paramiko.Transport, _Release]:
        connect_timeout_s = min(login.connect_timeout_s, timeout_s)
        sock, release = _reach(login, via, connect_timeout_s)
        transport: paramiko.Transport | None = None
        done = False
        try:
            transport = paramiko.Transport(sock)
            sock.settimeout(min(_POLL_S, connect_timeout_s))
            transport.banner_timeout = connect_timeout_s
            transport.handshake_timeout = timeout_s
            transport.auth_timeout = timeout_s
            keys = self._host_keys.of(login)
            _prefer(transport, keys)
            _negotiate(login, transport, timeout_s)
            self._host_keys.check(login, keys, transport.get_remote_server_key())
            self._identity.authenticate(login, transport)
            done = True
            return transport, release
        except paramiko.SSHException as error:
            raise _not_ssh(login, error) from None
        finally:
            if not done:
                if transport is not None:
                    close_connection(transport)
                release()


def close_connection(transport: paramiko.Transport) -> None:
    """Close a connection at once, also while another thread waits for what comes next on it."""
    if isinstance(transport.sock, socket.socket):
        with contextlib.suppress(OSError):  # closing alone would not wake it
            transport.sock.shutdown(socket.SHUT_RDWR)
    transport.close()


def _negotiate(login: Login, transport: paramiko.Transport, timeout_s: float) -> None:
    """Ciphers, keys and the proof that the host has its key."""
    done = threading.Event()
    try:
        transport.start_client(event=done)
        in_time = done.wait(timeout_s)
    except (paramiko.SSHException, EOFError, OSError, RuntimeError) as error:
        raise _not_ssh(login, error) from None
    if not in_time:
        raise _not_ssh(login, TimeoutError(f"it was not ready within {timeout_s:g} s"))
    if not transport.is_active():
        raise _not_ssh(login, transport.get_exception() or paramiko.SSHException("the connection was closed"))


def _prefer(transport: paramiko.Transport, keys: tuple[KnownKey, ...]) -> None:
    """Ask first for host keys that are known, and for AES-GCM.

    It encrypts and signs in one step, which costs half of what two do; paramiko would ask for it last.
    """
    options = transport.get_security_options()
    options.key_types = preferred_key_types(tuple(options.key_types), keys)
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "-gcm@" not in cipher)


def _reach(login: Login, via: paramiko.Transport | None, timeout_s: float) -> tuple[socket.socket, _Release]:
    """A connected stream to the host's SSH port, and what closes it."""
    where = f"{login.host} port {login.port_number}"
    if via is not None:
        try:
            channel = via.open_channel(
                "direct-tcpip", (login.host, login.port_number), ("127.0.0.1", 0), timeout=timeout_s
            )
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise NodeFailure(
                FailureKind.UNREACHABLE,
                f"the jump host {login.jumps[-1]} does not reach {where}: {error}",
                hint=f"try `ssh {login.jumps[-1]} nc -vz {login.host} {login.port_number}`",
            ) from None
        return channel, channel.close  # type: ignore[return-value]  # a Channel does what paramiko wants of a socket
    if login.proxy_command is not None:
        return _proxy(login.proxy_command)
    try:
        sock = socket.create_connection((login.host, login.port_number), timeout=timeout_s)
    except socket.gaierror:
        raise NodeFailure(
            FailureKind.UNRESOLVED,
            f"the name {login.host} cannot be resolved",
            hint="use --address-type InternalIP, or name the address in an inventory file",
        ) from None
    except ConnectionRefusedError:
        raise NodeFailure(
            FailureKind.REFUSED,
            f"{where} refuses connections",
            hint="is sshd running there, and on this port (--ssh-port)?",
        ) from None
    except TimeoutError:
        raise NodeFailure(
            FailureKind.CONNECT_TIMEOUT,
            f"{where} does not answer within {timeout_s:g} s",
            hint="a firewall may drop the packets, or the node is down; is there a jump host (--jump)?",
        ) from None
    except (OSError, UnicodeError, OverflowError) as error:
        strerror = getattr(error, "strerror", None) or str(error)
        kind = FailureKind.UNREACHABLE if getattr(error, "errno", None) in _UNREACHABLE else FailureKind.UNRESOLVED
        raise NodeFailure(
            kind, f"{where} cannot be reached: {strerror}", hint="is the network between here and the node up?"
        ) from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock, sock.close


def _proxy(command: str) -> tuple[socket.socket, _Release]:
    """A ProxyCommand's standard input and output as a socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release() -> None:
        ours.close()
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return ours, release


def _not_ssh(login: Login, error: Exception) -> NodeFailure:
    where = f"{login.host} port {login.port_number}"
    said = str(error) or "the connection was closed"
    if login.proxy_command is not None:
        return NodeFailure(
            FailureKind.NOT_SSH,
            f"no SSH server answers through the ProxyCommand: {said}",
            hint=f"try `ssh {login.asked_host}`, and run the ProxyCommand by itself",
        )
    return NodeFailure(
        FailureKind.NOT_SSH,
        f"no SSH session came about with {where}: {said}",
        hint="is that the port of its sshd (--ssh-port), and does sshd take more connections (MaxStartups)?",
    )
