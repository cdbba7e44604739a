"""Command lines of Kubernetes components, taken apart into a component and its flags.

What is understood: plain commands, `--flag=value` and `--flag value`, quotes that were kept or lost, launchers in front
(`hyperkube`, `/go-runner --log-file=…`, `sh -c "exec kube-apiserver … 1>>/var/log/x 2>&1"` as kops and GKE write), and
k3s and RKE2, which run every component inside one process and take its flags as `--kube-apiserver-arg=…`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

_COMPONENTS = frozenset(
    {"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet", "cloud-controller-manager"}
)
_HYPERKUBE_NAMES = {
    "apiserver": "kube-apiserver",
    "controller-manager": "kube-controller-manager",
    "proxy": "kube-proxy",
    "scheduler": "kube-scheduler",
}
_ALL_IN_ONE = frozenset({"k3s", "rke2"})
_LAUNCHERS = frozenset(
    {"hyperkube", "go-runner", "kube-log-runner", "tini", "dumb-init", "exec", "nohup", "setsid", "sudo", "nice", "env"}
)
_SHELLS = frozenset({"sh", "bash", "dash", "ash"})
_REDIRECT = re.compile(r"^(?:\d?>{1,2}|\d?<|&>)")
_OPERATORS = frozenset({"|", "||", "&&", ";", "&", "(", ")", "{", "}", "do", "then", "else", "!"})
_ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")


class ComponentCommand(Struct, frozen=True, kw_only=True):
    """One component's command line.

    `component` is the binary's own name (`kube-apiserver`), or `k3s server`, `k3s agent`, `rke2 server`, `rke2 agent`.
    `flags` are (name without dashes, value) in written order; underscores in names are dashes, as the components
    themselves read them; a flag without a value has the value `true`.
    """

    component: str
    flags: tuple[tuple[str, str], ...]

    def flag(self, *names: str) -> str | None:
        """The value of the first of `names` that is given; the last occurrence counts. None if none is given."""
        for name in names:
            values = self.values(name)
            if values:
                return values[-1]
        return None

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a flag, in written order."""
        return tuple(value for flag, value in self.flags if flag == name)

    @property
    def all_in_one(self) -> bool:
        """True for k3s and RKE2, whose one process holds the other components."""
        return self.component.partition(" ")[0] in _ALL_IN_ONE

    def embedded(self, component: str) -> ComponentCommand:
        """The flags that k3s or RKE2 hands to a component of its own (`--kube-proxy-arg=proxy-mode=ipvs`)."""
        words = [f"--{value.lstrip('-')}" for value in self.values(f"{component}-arg")]
        return ComponentCommand(component=component, flags=parse_flags(words))


def parse_flags(words: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Flags as (name, value); reading stops at a redirection, a pipe or `--`. Words that are no flags are passed over."""
    flags: list[tuple[str, str]] = []
    waiting: str | None = None
    for word in words:
        if word == "--" or word in _OPERATORS or _REDIRECT.match(word):
            break
        ends = word.endswith(";") and not word.endswith(r"\;")
        bare = (word.rstrip(";") if ends else word).lstrip("\"'")
        if bare.startswith("-") and len(bare.lstrip("-")) > 0:
            if waiting is not None:
                flags.append((waiting, "true"))
            name, equals, value = bare.lstrip("-").partition("=")
            name = name.replace("_", "-")
            waiting = None if equals else name
            if equals:
                flags.append((name, unquote(value)))
        elif waiting is not None:
            flags.append((waiting, unquote(bare)))
            waiting = None
        if ends:
            break
    if waiting is not None:
        flags.append((waiting, "true"))
    return tuple(flags)


def parse_command(words: Sequence[str]) -> ComponentCommand | None:
    """The component that a command line starts, or None if it starts none that is known.

    `words` may be a real argv (a shell script is then one word) or a line of `ps` cut at its spaces. A component's name
    among the arguments of another program (`grep kube-apiserver`) does not count.
    """
    found = _locate(list(words))
    if found is None:
        return None
    component, rest = found
    return ComponentCommand(component=component, flags=parse_flags(rest))


def unquote(text: str) -> str:
    """The text without one pair of quotes around it, and without a lost half of one."""
    bare = text.strip()
    if len(bare) >= 2 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    return bare.strip("\"'")


def _locate(words: list[str]) -> tuple[str, list[str]] | None:
    """The component and the words behind its name."""
    index = 0
    while index < len(words):
        name = _basename(words[index])
        rest = words[index + 1 :]
        if name in _COMPONENTS:
            return name, rest
        if name in _ALL_IN_ONE:
            role = rest[0] if rest else ""
            return (f"{name} {role}", rest[1:]) if role in ("server", "agent") else None
        if name == "hyperkube" and rest and rest[0] in _HYPERKUBE_NAMES:
            return _HYPERKUBE_NAMES[rest[0]], rest[1:]
        if name in _SHELLS:
            return _locate_in_script(rest)
        is_option = index > 0 and words[index].startswith("-")
        if not (name in _LAUNCHERS or is_option or _ASSIGNMENT.match(words[index])):
            return None
        index += 1
    return None


def _locate_in_script(arguments: list[str]) -> tuple[str, list[str]] | None:
    """The component that a shell's script starts: the first one in command position."""
    if "-c" not in arguments:
        return None
    script = arguments[arguments.index("-c") + 1 :]
    words = list(_script_words(script))
    starts = [0, *(i + 1 for i, word in enumerate(words) if word in _OPERATORS or word.endswith(";"))]
    for start in starts:
        found = _locate(words[start:])
        if found is not None:
            return found
    return None


def _script_words(script: list[str]) -> Iterator[str]:
    for word in script:
        if not re.search(r"\s", word):
            yield word
            continue
        try:
            yield from shlex.split(word, comments=False)
        except ValueError:
            yield from word.split()


def _basename(word: str) -> str:
    return unquote(word).rpartition("/")[2]
