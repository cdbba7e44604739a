"""The one command that runs on a node: read-only, POSIX sh, framed so that `kdiag.gather.framing` can take it apart."""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

PART_LIMIT = 256 * 1024 * 1024
"""Bytes that one command on a node may print; more is cut off there."""

_NONCE = re.compile(r"[0-9a-f]{32}")
_NO_ARGUMENTS = '""'
"""How sudoers says that a program may have none."""
_ENCODINGS = frozenset({"zstd", "gzip"})


class Sudo(enum.StrEnum):
    """When commands that need root go through `sudo -n`: if the user is not root and the node has it, always, or never."""

    IF_NEEDED = "auto"
    ALWAYS = "always"
    NEVER = "never"


SUDO_COMMANDS: Mapping[str, tuple[str, ...]] = {
    **{f"{family}{backend}-save": ("",) for backend in ("", "-legacy", "-nft") for family in ("iptables", "ip6tables")},
    "nft": ("list flowtables", "-j list ruleset", "list ruleset"),
    "ipset": ("save",),
    "ipvsadm": ("-S -n",),
    "ss": ("-ltnup",),
}
"""What is run through sudo: programs, and the arguments of each.

The list is complete for rules and sockets. Beside it kube-proxy's log and configuration file are tried, whose
paths nobody knows beforehand: rules of sudoers for these would have to have wildcards.
"""


def sudoers_entries(paths: Mapping[str, str]) -> str:
    """Entries for a line of sudoers that permit just what the script does with these programs: name to path.

    Arguments are fixed: `iptables-save --modprobe=FILE` and `nft -f FILE` would hand out all of root.
    """
    return ", ".join(
        f"{path} {arguments or _NO_ARGUMENTS}"
        for program, path in paths.items()
        for arguments in SUDO_COMMANDS.get(program, ("",))
    )


def new_nonce() -> str:
    """A mark that nothing on a node can know beforehand: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def node_script(
    *,
    nonce: str | None = None,
    encodings: Sequence[str] = (),
    sudo: Sudo = Sudo.IF_NEEDED,
    guarded: bool = False,
    asks: bool = False,
    check_only: bool = False,
    part_limit: int = PART_LIMIT,
) -> str:
    """The script as text, to be given to `sh` on standard input or saved in a file.

    Without `nonce` the node draws one, and the output describes itself: this is what `--print-script` prints.
    `encodings` are the compressions that the reader knows, best first (`zstd`, `gzip`); the first one that the node has
    is used, none sends plain text. `guarded` makes the script end, with all that it started, when its standard input is
    closed: only for a transport that holds it open. `asks` makes it send digests of dumps first and ask whether they are
    wanted (see kdiag.gather.dump_classes): only for a transport that answers, and where the node has what it takes. `check_only` asks only what the node can do. `part_limit` is in
    bytes, for each command.
    """
    if nonce is not None and not _NONCE.fullmatch(nonce):
        raise ValueError("a nonce is 32 hexadecimal digits")
    unknown = set(encodings) - _ENCODINGS
    if unknown:
        raise ValueError(f"unknown encodings: {sorted(unknown)}")
    settings = {
        "nonce": nonce or "",
        "encodings": " ".join(encodings),
        "use_sudo": sudo.value,
        "watch": "yes" if guarded else "no",
        "asks": "yes" if asks and guarded else "no",
        "only": "check" if check_only else "all",
        "limit": str(part_limit),
    }
    return "".join(f"{name}='{value}'\n" for name, value in settings.items()) + _body()


@cache
def _body() -> str:
    return resources.files("kdiag.gather").joinpath("node_script.sh").read_text(encoding="utf-8")
