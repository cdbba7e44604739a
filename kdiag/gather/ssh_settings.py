"""How to log in to nodes: options, `~/.ssh/config`, and what they come to for one host."""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.errors import UsageError

if TYPE_CHECKING:
    import paramiko

DEFAULT_PORT = 22
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_INCLUDE = re.compile(r"^\s*include(?:\s+|\s*=\s*)(.+?)\s*$", re.IGNORECASE)
_INCLUDE_DEPTH = 16  # as OpenSSH has it


def ssh_directory() -> Path:
    """The user's `~/.ssh`."""
    return Path.home() / ".ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """What the user asked for; None leaves it to `~/.ssh/config` and then to OpenSSH's defaults.

    `known_hosts` are files with host keys, the first of which takes new ones if `accept_new_host_keys`.
    `password` is asked for at most once, and only when no key is accepted. `use_agent` False leaves ssh-agent alone.
    """

    user: str | None = None
    port_number: int | None = None
    key_file: str | None = None
    jump: str | None = None
    config_file: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    accept_new_host_keys: bool = False
    password: Callable[[], str] | None = field(default=None, repr=False)
    use_agent: bool = True
    connect_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One host, with everything settled. `asked_host` is the host as it was given, `host` what is connected to.

    `key_name` is what known_hosts calls it. `key_files` are in the order to try, the first `named_keys` of them asked
    for by name. `jumps` are hosts to go through, outermost first.
    """

    asked_host: str
    host: str
    port_number: int
    user: str
    key_name: str
    key_files: tuple[Path, ...]
    named_keys: int
    known_hosts: tuple[Path, ...]
    use_agent: bool
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None
    connect_timeout_s: float = 10.0


class SshConfig:
    """`~/.ssh/config` and the options that stand above it. May be used from several threads.

    Host, Match, Include, HostName, User, Port, IdentityFile, IdentitiesOnly, IdentityAgent `none`, ProxyJump,
    ProxyCommand, HostKeyAlias, UserKnownHostsFile, GlobalKnownHostsFile and ConnectTimeout are followed.
    """

    def __init__(self, settings: SshSettings) -> None:
        self.settings = settings
        file = settings.config_file
        if file is not None and not file.is_file():
            raise UsageError(f"there is no SSH configuration file {file}", hint="name an existing one")
        own = file if file is not None else ssh_directory() / "config"
        self._text = "\n".join(_lines(own, 0))
        self._parsed: dict[str, paramiko.SSHConfig] = {}
        self._lock = threading.Lock()

    def login(
        self,
        host: str,
        *,
        user: str | None = None,
        port_number: int | None = None,
        key_file: str | None = None,
        through_options: bool = True,
    ) -> Login:
        """How to log in to `host`.

        What is given here is above the settings, and those are above the configuration file. `through_options` False
        leaves the settings' user, port, key and jump host out: they are meant for nodes, not for the jump hosts.
        Raises UsageError if the configuration file cannot be understood.
        """
        settings = self.settings
        if through_options:
            user = user or settings.user
            port_number = port_number or settings.port_number
            key_file = key_file or settings.key_file
        options = self._lookup(host, user, port_number)
        real_port = _port(str(options.get("port", DEFAULT_PORT)))
        real_user = str(options.get("user") or getpass.getuser())
        real_host = str(options.get("hostname", host))
        alias = options.get("hostkeyalias")
        named = [Path(key_file).expanduser()] if key_file else []
        configured = options.get("identityfile", [])
        named += [_expand(item) for item in (configured if isinstance(configured, list) else [str(configured)])]
        only_named = key_file is None and _yes(options.get("identitiesonly"))
        agent = settings.use_agent and str(options.get("identityagent", "")).lower() != "none"
        others = [] if named else [ssh_directory() / key for key in _DEFAULT_KEYS]
        jump = settings.jump if through_options and settings.jump else options.get("proxyjump")
        jumps = tuple(part.strip() for part in str(jump or "").split(",") if part.strip() and part.lower() != "none")
        command = options.get("proxycommand")
        plain = str(alias) if alias else real_host
        return Login(
            asked_host=host,
            host=real_host,
            port_number=real_port,
            user=real_user,
            key_name=plain if alias or real_port == DEFAULT_PORT else f"[{plain}]:{real_port}",
            key_files=tuple(dict.fromkeys([*named, *others])),
            named_keys=len(dict.fromkeys(named)),
            known_hosts=settings.known_hosts or _known_hosts(options),
            use_agent=agent and not only_named,
            jumps=jumps,
            proxy_command=str(command) if command and not jumps and str(command).lower() != "none" else None,
            connect_timeout_s=_seconds(options.get("connecttimeout"), settings.connect_timeout_s),
        )

    def _lookup(self, host: str, user: str | None, port_number: int | None) -> dict[str, str | list[str]]:
        # The first value found counts, so that options can be put in front as a block of their own.
        above = "Host *\n" + (f"User {user}\n" if user else "") + (f"Port {port_number}\n" if port_number else "")
        with self._lock:
            try:
                import paramiko

                config = self._parsed.get(above)
                if config is None:
                    config = self._parsed[above] = paramiko.SSHConfig.from_text(f"{above}\nHost *\n{self._text}\n")
                return dict(config.lookup(host))
            except (paramiko.SSHException, ValueError, ImportError, OSError) as error:
                raise UsageError(
                    f"the SSH configuration cannot be followed for {host}: {error}",
                    hint="kdiag understands what ssh_config(5) says but for Match exec and canonical host names",
                ) from None


def split_destination(text: str) -> tuple[str | None, str, int | None]:
    """User, host and port of `[user@]host[:port]`; an IPv6 address with a port has brackets. UsageError if it is none."""
    user, at, rest = text.rpartition("@")
    match = re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?|([^:\[\]\s]+)(?::(\d+))?|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)", rest)
    if match is None or (at and not user):
        raise UsageError(f"{text!r} is not a host to log in to", hint="write [user@]host[:port]")
    host = match[1] or match[3] or match[5]
    port_text = match[2] or match[4]
    return user or None, host, _port(port_text) if port_text else None


def _lines(file: Path, depth: int) -> Iterator[str]:
    """The lines of a configuration file, with those of the files that it includes; nothing if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        match = _INCLUDE.match(line)
        if match is None:
            yield line
        elif depth < _INCLUDE_DEPTH:
            try:
                patterns = shlex.split(match[1])
            except ValueError:
                patterns = [match[1]]
            for pattern in patterns:
                path = os.path.expanduser(pattern)
                for found in sorted(glob.glob(path if os.path.isabs(path) else str(ssh_directory() / path))):
                    yield from _lines(Path(found), depth + 1)


def _known_hosts(options: dict[str, str | list[str]]) -> tuple[Path, ...]:
    own = str(options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
    shared = str(options.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"))
    return tuple(_expand(word) for word in f"{own} {shared}".split() if word.lower() != "none")


def _expand(text: str) -> Path:
    return Path(text.strip('"').replace("%d", str(Path.home()))).expanduser()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
        raise UsageError(f"{text!r} is not a port", hint="a port is a number from 1 to 65535")
    return int(text)


def _yes(value: object) -> bool:
    return str(value).lower() == "yes"


def _seconds(value: object, default: float) -> float:
    text = str(value)
    return float(text) if text.isascii() and text.isdigit() and int(text) else default
