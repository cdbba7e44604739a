"""Settings that stand in files and in the environment: what `kdiag.toml`, `[tool.kdiag]` and KDIAG_… may say.

A key has the name of its option. Of several places that set one, the environment wins over kdiag.toml, and that over
pyproject.toml; the command line wins over all of them.

Files are looked for in the working directory and, within a repository, above it up to the repository's root. Such a file
was found, not named, and may have come with somebody else's repository; so it may not set what could run programs, trust
hosts or write elsewhere (`GUARDED`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from kdiag.errors import UsageError
from kdiag.gather.text_files import read_text_file
from kdiag.model.lookup import did_you_mean

if TYPE_CHECKING:
    from kdiag.parse.toml_document import TomlDocument

FILE = "kdiag.toml"
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "tool.kdiag"
PREFIX = "KDIAG_"
CONFIG_VARIABLE = "KDIAG_CONFIG"

_REPOSITORY_MARKS = (".git", ".hg", ".svn", ".jj")
_SERVICE_LINK = r"(?:^|_)(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_.*)?)?)$"
"""What Kubernetes puts into the environment of pods for a Service called kdiag or kdiag-something."""


class SettingKind(enum.Enum):
    """What a value must be; the word is for messages."""

    TEXT = 'a text, as in key = "…"'
    TEXTS = 'a list of texts, as in key = ["…"]'
    OUTPUTS = 'formats, as in key = ["text", "sarif=kdiag.sarif"]'
    PATH = 'the path of a file, as in key = "…"'
    NUMBER = "a number"
    INTEGER = "a whole number"
    FLAG = "true or false"


KEYS: Mapping[str, SettingKind] = {
    "output": SettingKind.OUTPUTS,
    "fail_on": SettingKind.TEXT,
    "ignore": SettingKind.TEXTS,
    "reserved": SettingKind.TEXTS,
    "baseline": SettingKind.PATH,
    "color": SettingKind.TEXT,
    "kubeconfig": SettingKind.PATH,
    "context": SettingKind.TEXT,
    "settle": SettingKind.NUMBER,
    "retries": SettingKind.INTEGER,
    "transport": SettingKind.TEXT,
    "inventory": SettingKind.PATH,
    "address_type": SettingKind.TEXT,
    "ssh_user": SettingKind.TEXT,
    "ssh_port": SettingKind.INTEGER,
    "ssh_key": SettingKind.PATH,
    "jump": SettingKind.TEXT,
    "accept_new_host_keys": SettingKind.FLAG,
    "sudo": SettingKind.TEXT,
    "parallel": SettingKind.INTEGER,
    "node_timeout": SettingKind.NUMBER,
    "deadline": SettingKind.NUMBER,
}
"""Every key there is. Which cluster, nodes and Services are looked at is said on the command line alone."""

GUARDED: Mapping[str, str] = {
    "kubeconfig": "a kubeconfig can run programs",
    "accept_new_host_keys": "it decides whom to trust",
}
"""Keys that count only in a file that the user has named, and why."""


class Setting(Struct, frozen=True, kw_only=True):
    """One value as it stands there: text, number, truth value or a tuple of texts. `origin` is for messages."""

    key: str
    value: str | int | float | bool | tuple[str, ...]
    origin: str


def read_settings(
    *, config: Path | None, without_files: bool, environment: Mapping[str, str], directory: Path
) -> tuple[Setting, ...]:
    """What counts of each key, in the order of KEYS.

    `config` is the file that the user named, which is then the only one; `directory` is where looking for others starts.
    Raises UsageError or ParseError for unknown keys, values of the wrong kind and files that cannot be read.
    """
    if config is not None and without_files:
        raise UsageError("--config and --no-config exclude each other")
    named = config
    if named is None and not without_files and environment.get(CONFIG_VARIABLE):
        named = Path(environment[CONFIG_VARIABLE])
    settings: dict[str, Setting] = {}
    if named is not None:
        settings |= _from_file(named, named=True)
    elif not without_files:
        for path in reversed(_found(directory)):
            settings |= _from_file(path, named=False)
    settings |= _from_environment(environment)
    return tuple(settings[key] for key in KEYS if key in settings)


def _found(directory: Path) -> list[Path]:
    """The nearest kdiag.toml and the nearest pyproject.toml with a table for kdiag, in this order."""
    found: list[Path] = []
    places = list(_searched(directory))
    for place in places:
        if (place / FILE).is_file():
            found.append(place / FILE)
            break
    for place in places:
        path = place / PROJECT_FILE
        if path.is_file() and PROJECT_TABLE in (text := read_text_file(path, "settings file")):
            if _project_table(_parsed(text, str(path))) is not None:
                found.append(path)
                break
    return found


def _searched(directory: Path) -> Iterator[Path]:
    """The directory and those above it up to the root of the repository; outside of one, the directory alone."""
    directory = directory.absolute()
    above = [directory, *directory.parents]
    root = next((index for index, place in enumerate(above) if _is_root(place)), 0)
    yield from above[: root + 1]


def _is_root(place: Path) -> bool:
    return any((place / mark).exists() for mark in _REPOSITORY_MARKS)


def _from_file(path: Path, *, named: bool) -> dict[str, Setting]:
    document = _parsed(read_text_file(path, "settings file"), _shown(path))
    table, header = document.content, ""
    if path.name == PROJECT_FILE:
        found = _project_table(document)
        if found is None:
            raise UsageError(f"{path} has no table [{PROJECT_TABLE}]", hint=f"begin it with [{PROJECT_TABLE}]")
        table, header = found, PROJECT_TABLE
    out: dict[str, Setting] = {}
    for key, value in table.items():
        line = document.line_of(key, table=header) or document.line_of("", table=f"{header}.{key}" if header else key)
        origin = document.place(line)
        if key not in KEYS:
            raise UsageError(f"{origin}: there is no setting {key!r}", hint=_known(key))
        if key in GUARDED and not named:
            raise UsageError(
                f"{origin}: {key} does not count in a file that was found: {GUARDED[key]}",
                hint=f"name the file with --config {path}, or set {PREFIX}{key.upper()}",
            )
        checked = _of_kind(key, value, origin)
        out[key] = Setting(key=key, value=_placed(key, checked, path.parent, origin, named=named), origin=origin)
    return out


def _parsed(text: str, origin: str) -> TomlDocument:
    """Most runs have no such file, and are spared the parser."""
    from kdiag.parse.toml_document import parse_toml

    return parse_toml(text, origin)


def _project_table(document: TomlDocument) -> Mapping[str, Any] | None:
    tools = document.content.get("tool")
    table = tools.get("kdiag") if isinstance(tools, dict) else None
    return table if isinstance(table, dict) else None


def _of_kind(key: str, value: object, origin: str) -> str | int | float | bool | tuple[str, ...]:
    kind = KEYS[key]
    match kind:
        case SettingKind.TEXT | SettingKind.PATH:
            if isinstance(value, str) and value:
                return value
        case SettingKind.TEXTS | SettingKind.OUTPUTS:
            if isinstance(value, str) and value:
                return (value,)
            if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
                return tuple(value)
        case SettingKind.NUMBER:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        case SettingKind.INTEGER:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        case SettingKind.FLAG:
            if isinstance(value, bool):
                return value
    raise UsageError(f"{origin}: {key} is not {kind.value.split(',')[0]}", hint=f"{key} is {kind.value}")


def _placed(
    key: str, value: str | int | float | bool | tuple[str, ...], directory: Path, origin: str, *, named: bool
) -> str | int | float | bool | tuple[str, ...]:
    """The value with its paths made relative to the file that it stands in."""
    if KEYS[key] is SettingKind.PATH and isinstance(value, str):
        return str(directory / Path(value).expanduser())
    if KEYS[key] is SettingKind.OUTPUTS and isinstance(value, tuple):
        return tuple(_placed_output(item, directory, origin, named=named) for item in value)
    return value


def _placed_output(item: str, directory: Path, origin: str, *, named: bool) -> str:
    slug, equals, path = item.partition("=")
    if not equals or path in ("", "-"):
        return item
    target = directory / Path(path).expanduser()
    if not named and not target.resolve().is_relative_to(directory.resolve()):
        raise UsageError(
            f"{origin}: output {item!r} does not count in a file that was found: it writes outside of {directory}",
            hint="name the file with --config, or say it on the command line",
        )
    return f"{slug}={target}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Setting]:
    """Empty variables count as unset. One that is nearly a key is a slip; others may be anybody's, and are left alone."""
    known = {f"{PREFIX}{key.upper()}": key for key in KEYS}
    out: dict[str, Setting] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or not environment[variable]:
            continue
        key = known.get(variable)
        if key is not None:
            out[key] = Setting(key=key, value=_split(key, environment[variable]), origin=variable)
        elif not re.search(_SERVICE_LINK, variable.removeprefix(PREFIX)):
            near = did_you_mean(variable.removeprefix(PREFIX), [key.upper() for key in KEYS])
            if near:
                raise UsageError(
                    f"there is no variable {variable}",
                    hint=re.sub(r"\b[A-Z_]{3,}\b", lambda found: PREFIX + found[0], near),
                )
    return out


def _split(key: str, text: str) -> str | tuple[str, ...]:
    if KEYS[key] in (SettingKind.TEXTS, SettingKind.OUTPUTS):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if KEYS[key] is SettingKind.PATH:
        return str(Path(text).expanduser())
    return text


def _known(key: str) -> str:
    return did_you_mean(key.replace("-", "_"), KEYS) or f"the settings are {', '.join(KEYS)}"


def _shown(path: Path) -> str:
    """The path as somebody would write it who stands in the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
