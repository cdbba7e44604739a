"""How to log in to nodes: options, `~/.ssh/config`, and what they come to for one host."""

from __future__ import annotations

import functools
import getpass
import glob
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.errors import UsageError

if TYPE_CHECKING:
    import paramiko

DEFAULT_PORT = 22
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_INCLUDE = re.compile(r"^\s*include(?:\s+|\s*=\s*)(.+?)\s*$", re.IGNORECASE)
_INCLUDE_DEPTH = 16  # as OpenSSH has it
_MATCH = re.compile(r"^\s*match(?:\s+|\s*=\s*)(.*)$", re.IGNORECASE)
_CRITERIA = frozenset({"all", "canonical", "final", "host", "originalhost", "user", "localuser"})
"""What paramiko can tell of a Match block. It would run the command of `exec`, and takes what it does not know for true."""
_WITHOUT_ARGUMENT = frozenset({"all", "canonical", "final"})
_NEVER = "Host !*"


def ssh_directory() -> Path:
    """The user's `~/.ssh`."""
    return Path.home() / ".ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """What the user asked for; None leaves it to `~/.ssh/config` and then to OpenSSH's defaults.

    `known_hosts` are files with host keys, the first of which takes new ones if `accept_new_host_keys`.
    `password` is asked for at most once: as the passphrase of the first key that is encrypted, or when no key is accepted.
    `use_agent` False leaves ssh-agent alone.
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
    for by name. `jumps` are hosts to go through, outermost first. `identities_only` leaves of ssh-agent's keys those
    that belong to `key_files`. `remarks` say what of the configuration was left out that might matter here.
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
    identities_only: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a configuration file. `place` is `file:line`."""

    text: str
    place: str


class SshConfig:
    """`~/.ssh/config` and the options that stand above it. May be used from several threads.

    Host, Match, Include, HostName, User, Port, IdentityFile, IdentitiesOnly, IdentityAgent `none`, ProxyJump,
    ProxyCommand, HostKeyAlias, UserKnownHostsFile, GlobalKnownHostsFile and ConnectTimeout are followed.

    A Match block with `exec` is left out, its command is never run: gathering must not run what nobody expects of it.
    So is one with a criterion that is not known. A login that such a block could change has a remark.
    """

    def __init__(self, settings: SshSettings) -> None:
        self.settings = settings
        file = settings.config_file
        if file is not None and not file.is_file():
            raise UsageError(f"there is no SSH configuration file {file}", hint="name an existing one")
        own = file if file is not None else ssh_directory() / "config"
        self._lines = tuple(_lines(own, 0))
        self._left_out = tuple(index for index, line in enumerate(self._lines) if _judged(line.text) is not None)
        self._parsed: dict[tuple[str, int | None], paramiko.SSHConfig] = {}
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
        jump = settings.jump if through_options else None

        def made(with_block: int | None = None) -> Login:
            options = self._lookup(host, user, port_number, with_block)
            return _login(settings, options, host, key_file=key_file, jump=jump)

        found = made()
        remarks = tuple(
            f"{self._lines[index].place}: {self._lines[index].text.strip()!r} is left out: kdiag runs no command of an SSH "
            "configuration and follows only the criteria host, originalhost, user and localuser; put what nodes need under "
            "Host, or say it with --ssh-user, --ssh-port, --ssh-key and --jump"
            for index in self._left_out
            if _differs(found, functools.partial(made, index))
        )
        return replace(found, remarks=remarks) if remarks else found

    def _lookup(
        self, host: str, user: str | None, port_number: int | None, with_block: int | None
    ) -> dict[str, str | list[str]]:
        """The options of a host. `with_block` is the line of a left out Match block to be taken for one that matches."""
        # The first value found counts, so that options can be put in front as a block of their own.
        above = "Host *\n" + (f"User {user}\n" if user else "") + (f"Port {port_number}\n" if port_number else "")
        with self._lock:
            try:
                import paramiko

                config = self._parsed.get((above, with_block))
                if config is None:
                    text = f"{above}\nHost *\n{self._text(with_block)}\n"
                    config = self._parsed[above, with_block] = paramiko.SSHConfig.from_text(text)
                return dict(config.lookup(host))
            except (paramiko.SSHException, ValueError, ImportError, OSError) as error:
                raise UsageError(
                    f"the SSH configuration cannot be followed for {host}: {error}",
                    hint="kdiag understands what ssh_config(5) says but for Match exec and canonical host names",
                ) from None

    def _text(self, with_block: int | None) -> str:
        """The configuration as paramiko may see it: with no command in it that would be run to see what matches."""
        texts = [line.text for line in self._lines]
        for index in self._left_out:
            texts[index] = (_judged(texts[index]) or _NEVER) if index == with_block else _NEVER
        return "\n".join(texts)


def _login(
    settings: SshSettings,
    options: dict[str, str | list[str]],
    host: str,
    *,
    key_file: str | None,
    jump: str | None,
) -> Login:
    """What the options of a host come to. `key_file` and `jump` were asked for and are above them."""
    real_port = _port(str(options.get("port", DEFAULT_PORT)))
    real_host = str(options.get("hostname", host))
    alias = options.get("hostkeyalias")
    named = [Path(key_file).expanduser()] if key_file else []
    configured = options.get("identityfile", [])
    named += [_expand(item) for item in (configured if isinstance(configured, list) else [str(configured)])]
    others = [] if named else [ssh_directory() / key for key in _DEFAULT_KEYS]
    on_the_way = str(jump or options.get("proxyjump") or "")
    jumps = tuple(part.strip() for part in on_the_way.split(",") if part.strip() and part.lower() != "none")
    command = options.get("proxycommand")
    plain = str(alias) if alias else real_host
    return Login(
        asked_host=host,
        host=real_host,
        port_number=real_port,
        user=str(options.get("user") or getpass.getuser()),
        key_name=plain if alias or real_port == DEFAULT_PORT else f"[{plain}]:{real_port}",
        key_files=tuple(dict.fromkeys([*named, *others])),
        named_keys=len(dict.fromkeys(named)),
        known_hosts=settings.known_hosts or _known_hosts(options),
        use_agent=settings.use_agent and str(options.get("identityagent", "")).lower() != "none",
        jumps=jumps,
        proxy_command=str(command) if command and not jumps and str(command).lower() != "none" else None,
        connect_timeout_s=_seconds(options.get("connecttimeout"), settings.connect_timeout_s),
        identities_only=key_file is None and _yes(options.get("identitiesonly")),
    )


def _differs(found: Login, other: Callable[[], Login]) -> bool:
    try:
        return other() != found
    except UsageError:  # what the block says makes no sense: that would be noticed if it applied
        return True


def _judged(line: str) -> str | None:
    """A Match line that kdiag leaves out, without the criteria that it does not judge; None for any other line."""
    match = _MATCH.match(line)
    if match is None:
        return None
    try:
        words = shlex.split(match[1])
    except ValueError:
        return None  # paramiko will say so
    kept: list[str] = []
    dropped = False
    while words:
        word = words.pop(0)
        criterion = word.removeprefix("!").lower()
        taken = 0 if criterion in _WITHOUT_ARGUMENT else 1
        if criterion in _CRITERIA:
            kept += [word.lower(), *words[:taken]]
        else:
            dropped = True
        words = words[taken:]
    if not dropped:
        return None
    return f"Match {shlex.join(kept)}" if kept else "Host *"


def split_destination(text: str) -> tuple[str | None, str, int | None]:
    """User, host and port of `[user@]host[:port]`; an IPv6 address with a port has brackets. UsageError if it is none."""
    user, at, rest = text.rpartition("@")
    match = re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?|([^:\[\]\s]+)(?::(\d+))?|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)", rest)
    if match is None or (at and not user):
        raise UsageError(f"{text!r} is not a host to log in to", hint="write [user@]host[:port]")
    host = match[1] or match[3] or match[5]
    port_text = match[2] or match[4]
    return user or None, host, _port(port_text) if port_text else None


def _lines(file: Path, depth: int) -> Iterator[_Line]:
    """The lines of a configuration file, with those of the files that it includes; nothing if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        match = _INCLUDE.match(line)
        if match is None:
            yield _Line(text=line, place=f"{file}:{number}")
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
