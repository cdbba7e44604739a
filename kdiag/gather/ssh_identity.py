"""Who we are to a host: private keys, ssh-agent and the password, each asked for once."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from kdiag.gather.ssh_settings import Login, SshSettings
from kdiag.gather.transports.interface import FailureKind, NodeFailure

_PASSWORD_METHODS = frozenset({"password", "keyboard-interactive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadedKey:
    """A private key, or what is wrong with it. `encrypted` is True if only its passphrase is missing."""

    key: paramiko.PKey | None = None
    problem: str = ""
    encrypted: bool = False


class Identity:
    """The keys and the password of one run; each key file is read once. For use by several threads.

    An encrypted key is tried with the password that was asked for, if there is one: then that is a passphrase, and is
    never sent to a host.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._keys: dict[Path, _LoadedKey] = {}
        self._password: str | None = None
        self._password_asked = False
        self._opened_key: Path | None = None
        self._lock = threading.Lock()
        self._password_lock = threading.Lock()

    def authenticate(self, login: Login, transport: paramiko.Transport) -> None:
        """Logs in. Raises NodeFailure with all that was tried."""
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
        if transport.is_active() and (not allowed or _PASSWORD_METHODS & set(allowed)):
            password = self._ask_password()
            if password is not None and self._opened_key is not None:
                remarks.append(f"what was asked for is the passphrase of {self._opened_key}, and is not sent to hosts")
            elif password is not None:
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
                only = {_public_blob(named) for named in login.key_files[:index]} if login.identities_only else None
                for agent_key in agent.listed():
                    blob = agent_key.asbytes()
                    if blob not in seen and (only is None or blob in only):
                        seen.add(blob)
                        yield "keys of ssh-agent", agent_key
            if file is None:
                return
            loaded = self._key(file)
            if loaded.key is None:
                if loaded.problem and (index < login.named_keys or file.exists()):
                    remarks.append(loaded.problem)
            elif loaded.key.asbytes() not in seen:
                seen.add(loaded.key.asbytes())
                yield f"key {file}", loaded.key

    def _key(self, file: Path) -> _LoadedKey:
        with self._lock:
            if file not in self._keys:
                loaded = _load_key(file)
                password = self._ask_password() if loaded.encrypted else None
                if password is not None:
                    loaded = _load_key(file, password)
                    if loaded.key is not None:
                        self._opened_key = file
                self._keys[file] = loaded
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


def _load_key(file: Path, passphrase: str | None = None) -> _LoadedKey:
    try:
        # By position: the parameter's name differs between releases of paramiko. Bytes are what cryptography takes.
        key = paramiko.PKey.from_path(file, None if passphrase is None else passphrase.encode())  # type: ignore[arg-type]
        return _LoadedKey(key=key)
    except FileNotFoundError:
        return _LoadedKey(problem=f"there is no key {file}")
    except OSError as error:
        return _LoadedKey(problem=f"the key {file} cannot be read: {error.strerror or error}")
    except (paramiko.PasswordRequiredException, TypeError):
        return _LoadedKey(
            problem=f"the key {file} is encrypted: add it to ssh-agent with `ssh-add {file}`, or give its passphrase at "
            "--ssh-password-prompt",
            encrypted=True,
        )
    except Exception:
        # cryptography and paramiko raise whatever they like here; the text might hold parts of the key.
        if passphrase is not None:
            return _LoadedKey(problem=f"the key {file} is encrypted, and not with the password that was given")
        return _LoadedKey(problem=f"the key {file} is not a private key that kdiag can read")


def _public_blob(file: Path) -> bytes | None:
    """The public key that stands beside a private one, or in `file` itself; None if there is none to be read."""
    for place in (file.with_name(f"{file.name}.pub"), file):
        try:
            return base64.b64decode(place.read_bytes()[:65536].split()[1], validate=True)
        except (OSError, IndexError, ValueError):
            continue
    return None
