"""Logging in to a host with SSH: the way there, its host key, and who we are."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from kdiag.gather.known_hosts import KnownHosts, KnownKey, fingerprint
from kdiag.gather.ssh_settings import Login, SshConfig, SshSettings, split_destination
from kdiag.gather.transports.interface import FailureKind, NodeAddress, NodeFailure

# paramiko logs what it also raises; without a handler of its own, logging would print that with a traceback.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
_MAX_JUMPS = 8
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ENETDOWN})

_Release = Callable[[], None]


class SshLogin:
    """Opens SSH connections to nodes; jump hosts, host keys and private keys are shared. For use by several threads."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._config = SshConfig(settings)
        self._known: dict[tuple[Path, ...], KnownHosts] = {}
        self._keys: dict[Path, tuple[paramiko.PKey | None, str]] = {}
        self._jumps: dict[tuple[str, ...], paramiko.Transport | NodeFailure] = {}
        self._jump_locks: dict[tuple[str, ...], threading.Lock] = {}
        self._password: str | None = None
        self._password_asked = False
        self._lock = threading.Lock()
        self._new_key_lock = threading.Lock()
        self._password_lock = threading.Lock()

    def login_for(self, address: NodeAddress) -> Login:
        """How the node is logged in to. Raises UsageError for a configuration that cannot be followed."""
        return self._config.login(
            address.host, user=address.user, port_number=address.port_number, key_file=address.key_file
        )

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
            transport.close()
            release()

    def close(self) -> None:
        """Close the connections to jump hosts."""
        with self._lock:
            shared = list(self._jumps.values())
            self._jumps.clear()
        for jump in shared:
            if isinstance(jump, paramiko.Transport):
                jump.close()

    # The way there

    def _route(self, login: Login, depth: int) -> paramiko.Transport | None:
        """The connection to the last jump host, None if the host is reached without one."""
        via: paramiko.Transport | None = None
        path: tuple[str, ...] = ()
        for hop in login.jumps:
            if depth == 0:
                raise NodeFailure(FailureKind.CONFIGURATION, f"too many jump hosts on the way to {login.host}")
            user, host, port_number = split_destination(hop.removeprefix("ssh://"))
            jump_login = self._config.login(host, user=user, port_number=port_number, through_options=False)
            if via is None:
                via = self._route(jump_login, depth - 1)
            path = (*path, hop)
            via = self._jump(path, jump_login, via)
        return via

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
            transport.banner_timeout = connect_timeout_s
            transport.handshake_timeout = timeout_s
            transport.auth_timeout = timeout_s
            known = self._known_hosts(login)
            keys = _keys_for(login, known)
            _prefer(transport, keys)
            try:
                transport.start_client(timeout=timeout_s)
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise _not_ssh(login, error) from None
            self._check_host_key(login, known, keys, transport.get_remote_server_key())
            self._authenticate(login, transport)
            done = True
            return transport, release
        except paramiko.SSHException as error:
            raise _not_ssh(login, error) from None
        finally:
            if not done:
                if transport is not None:
                    transport.close()
                release()

    # Whose key it is

    def _known_hosts(self, login: Login) -> KnownHosts:
        with self._lock:
            known = self._known.get(login.known_hosts)
            if known is None:
                known = self._known[login.known_hosts] = KnownHosts(login.known_hosts)
            return known

    def _check_host_key(
        self, login: Login, known: KnownHosts, keys: tuple[KnownKey, ...], shown: paramiko.PKey
    ) -> None:
        blob = shown.asbytes()
        what = f"{shown.get_name()} {fingerprint(blob)}"
        same = [key for key in keys if key.blob == blob]
        revoked = next((key for key in same if key.marker == "@revoked"), None)
        if revoked is not None:
            raise NodeFailure(
                FailureKind.CHANGED_HOST_KEY,
                f"the host key of {login.key_name} ({what}) is revoked in {revoked.place}",
                hint="give the host a new key",
            )
        if any(not key.marker for key in same):
            return
        plain = [key for key in keys if not key.marker]
        if plain:
            raise NodeFailure(
                FailureKind.CHANGED_HOST_KEY,
                f"the host key of {login.key_name} has changed: it shows {what}, {plain[0].place} has "
                f"{plain[0].key_type} {fingerprint(plain[0].blob)}",
                hint=(
                    f"another machine may pass itself off as this one; if it was set up anew, forget the old key with "
                    f"`ssh-keygen -R '{login.key_name}' -f {plain[0].file}`"
                ),
            )
        if self._settings.accept_new_host_keys and login.known_hosts:
            with self._new_key_lock:
                # Another thread may have met the same host behind another node name, with another key.
                again = _keys_for(login, known)
                if not any(not key.marker for key in again):
                    try:
                        known.add(login.key_name, shown.get_name(), blob)
                    except OSError as error:
                        raise NodeFailure(
                            FailureKind.UNKNOWN_HOST_KEY,
                            f"the host key of {login.key_name} cannot be written to {login.known_hosts[0]}: "
                            f"{error.strerror or error}",
                            hint="make the file writable, or name another one as UserKnownHostsFile in ~/.ssh/config",
                        ) from None
                    return
            self._check_host_key(login, known, again, shown)
            return
        raise NodeFailure(
            FailureKind.UNKNOWN_HOST_KEY,
            f"the host key of {login.key_name} is not known: it shows {what}",
            hint=f"if that is its key, accept it with `{_accepting_command(login)}`, or all new ones with "
            "--accept-new-host-keys",
        )

    # Who we are

    def _authenticate(self, login: Login, transport: paramiko.Transport) -> None:
        tried: list[str] = []
        remarks: list[str] = []
        # Which methods the server takes: it says so only when a method is not among them, or is not enough.
        allowed: list[str] = []
        with contextlib.closing(_AgentKeys(wanted=login.use_agent)) as agent:
            for what, key in self._candidates(login, agent, remarks):
                try:
                    allowed = transport.auth_publickey(login.user, key)
                except paramiko.BadAuthenticationType as error:
                    allowed = list(error.allowed_types)
                except paramiko.AuthenticationException:
                    pass
                except (paramiko.SSHException, EOFError, OSError):
                    remarks.append("it closed the connection after these")
                    tried.append(what)
                    break
                tried.append(what)
                if transport.is_authenticated():
                    return
                if allowed and "publickey" not in allowed:
                    break
        if transport.is_active() and (not allowed or {"password", "keyboard-interactive"} & set(allowed)):
            password = self._ask_password()
            if password is not None:
                tried.append("the password")
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.auth_password(login.user, password, fallback=True)
                if transport.is_authenticated():
                    return
        what_was_tried = ", ".join(dict.fromkeys(tried)) or "there was nothing to try"
        remark = f" ({'; '.join(remarks)})" if remarks else ""
        takes = f"; it takes {', '.join(sorted(allowed))}" if allowed else ""
        raise NodeFailure(
            FailureKind.AUTHENTICATION,
            f"{login.host} does not let {login.user} in: {what_was_tried}{remark}{takes}",
            hint="name the user with --ssh-user and the key with --ssh-key, or use --ssh-password-prompt",
        )

    def _candidates(self, login: Login, agent: _AgentKeys, remarks: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
        """Keys in the order to try: those asked for, ssh-agent's, then the default files; each once."""
        seen: set[bytes] = set()
        for index, file in enumerate((*login.key_files, None)):
            if index == login.named_keys:
                for agent_key in agent.listed():
                    if agent_key.asbytes() not in seen:
                        seen.add(agent_key.asbytes())
                        yield "keys of ssh-agent", agent_key
            if file is None:
                return
            key, problem = self._key(file)
            if key is None:
                if problem and (index < login.named_keys or file.exists()):
                    remarks.append(problem)
            elif key.asbytes() not in seen:
                seen.add(key.asbytes())
                yield f"key {file}", key

    def _key(self, file: Path) -> tuple[paramiko.PKey | None, str]:
        """A private key, or None and what is wrong with it."""
        with self._lock:
            if file not in self._keys:
                self._keys[file] = _load_key(file)
            return self._keys[file]

    def _ask_password(self) -> str | None:
        if self._settings.password is None:
            return None
        with self._password_lock:
            if not self._password_asked:
                self._password = self._settings.password()
                self._password_asked = True
            return self._password


class _AgentKeys:
    """ssh-agent, asked only when it comes to its keys. A connection of its own for each thread."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._agent: paramiko.Agent | None = None

    def listed(self) -> tuple[paramiko.AgentKey, ...]:
        if not self._wanted:
            return ()
        try:
            self._agent = paramiko.Agent()
            return tuple(self._agent.get_keys())
        except (paramiko.SSHException, OSError, EOFError):
            return ()

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


def _load_key(file: Path) -> tuple[paramiko.PKey | None, str]:
    try:
        return paramiko.PKey.from_path(file), ""
    except FileNotFoundError:
        return None, f"there is no key {file}"
    except OSError as error:
        return None, f"the key {file} cannot be read: {error.strerror or error}"
    except (paramiko.PasswordRequiredException, TypeError):
        return None, f"the key {file} is encrypted: add it to ssh-agent with `ssh-add {file}`"
    except Exception:
        # cryptography and paramiko raise whatever they like here; the text might hold parts of the key.
        return None, f"the key {file} is not a private key that kdiag can read"


def _keys_for(login: Login, known: KnownHosts) -> tuple[KnownKey, ...]:
    """What known_hosts says of a host. A key that is written without the port counts too where it is the same host."""
    keys = known.keys_of((login.key_name,))
    if not keys and login.key_name.startswith("["):
        keys = known.keys_of((login.key_name[1:].partition("]:")[0],))
    return keys


def _prefer(transport: paramiko.Transport, keys: tuple[KnownKey, ...]) -> None:
    """Ask for the kinds of host key first that are known, so that a host with several shows one that can be checked."""
    options = transport.get_security_options()
    known_types = {key.key_type for key in keys if not key.marker}
    if "ssh-rsa" in known_types:
        known_types |= set(_RSA_SIGNATURES)
    options.key_types = sorted(options.key_types, key=lambda kind: kind not in known_types)


def _accepting_command(login: Login) -> str:
    port = "" if login.port_number == 22 else f" -p {login.port_number}"
    if login.jumps or login.proxy_command or login.key_name.strip("[").partition("]")[0] != login.host:
        return f"ssh{port} {login.user}@{login.asked_host} true"
    target = login.known_hosts[0] if login.known_hosts else Path("~/.ssh/known_hosts")
    return f"ssh-keyscan{port} {login.host} >> {target}"


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
