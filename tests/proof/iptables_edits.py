"""Every way to damage what `iptables-save` printed: rules, chains and policies of each table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.proof.edits import OTHER_PROTOCOL, Edit, other_address, replaced

MARK = re.compile(r"--(?:mark|set-xmark|or-mark) (0x[0-9a-f]+)/(0x[0-9a-f]+)")
DNAT = re.compile(r"--to-destination (\[?[0-9a-f.:]+?\]?):(\d+)$")
# What may stand in for a set that a rule of IPVS mode asks: one that asks for as many things.
OTHER_SETS = {
    "dst": ("KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-LOCAL-TCP"),
    "dst,dst": ("KUBE-CLUSTER-IP", "KUBE-EXTERNAL-IP"),
    "dst,dst,src": ("KUBE-LOOP-BACK", "KUBE-LOAD-BALANCER-SOURCE-IP"),
}


def chain_of(line: str) -> str | None:
    """The chain that a rule stands in."""
    return line.split(" ", 2)[1] if line.startswith("-A ") else None


def _addresses(line: str) -> Iterator[tuple[str, str]]:
    for option in ("-d", "-s"):
        for found in re.finditer(rf"(?:^|(?<= )){option} ([0-9a-f.:]+)(/\d+)", line):
            yield f"{option} address", line[: found.start(1)] + other_address(found[1]) + line[found.end(1) :]


def _ports(line: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"--dport (\d+)", line):
        yield "port", line[: found.start(1)] + str(int(found[1]) + 1) + line[found.end(1) :]
    if found_ports := re.search(r"--to-ports (\d+)", line):
        at = found_ports.span(1)
        yield "REDIRECT port", line[: at[0]] + str(int(found_ports[1]) + 1) + line[at[1] :]
    if match := re.search(r" -p (tcp|udp|sctp) ", line):
        other = OTHER_PROTOCOL[match[1]]
        yield "protocol", line.replace(f" -p {match[1]} ", f" -p {other} ").replace(f" -m {match[1]} ", f" -m {other} ")


def _choices(line: str) -> Iterator[tuple[str, str]]:
    if match := re.search(r"--probability ([0-9.]+)", line):
        yield "probability", line[: match.start(1)] + "0.90000000000" + line[match.end(1) :]
        yield "no probability", line.replace(f" -m statistic --mode random {match[0]}", "")
    if match := re.search(r"--seconds (\d+)", line):
        yield "affinity time", line[: match.start(1)] + "17" + line[match.end(1) :]


def _translations(line: str) -> Iterator[tuple[str, str]]:
    if match := DNAT.search(line):
        bare = match[1].strip("[]")
        yield "DNAT address", line[: match.start(1)] + match[1].replace(bare, other_address(bare)) + f":{match[2]}"
        yield "DNAT port", line[: match.start(2)] + str(int(match[2]) + 1)


def _matches(line: str) -> Iterator[tuple[str, str]]:
    for found in MARK.finditer(line):
        yield "mark", line[: found.start(1)] + "0x10000" + line[found.end(1) :]
        yield "mask", line[: found.start(2)] + "0x10000" + line[found.end(2) :]
    if "! " in line:
        yield "negation", line.replace("! ", "", 1)
    if match := re.search(r"--(?:dst|src)-type LOCAL", line):
        yield "address type", line[: match.end() - 5] + "MULTICAST" + line[match.end() :]
    if match := re.search(r"--(?:ct)?state (\S+)", line):
        other = "RELATED,ESTABLISHED" if "NEW" in match[1] else "NEW"
        yield "state", line[: match.start(1)] + other + line[match.end(1) :]
    if match := re.search(r"--match-set (\S+) (\S+)", line):
        other = next(name for name in OTHER_SETS[match[2]] if name != match[1])
        yield "set", line[: match.start(1)] + other + line[match.end(1) :]
    if match := re.search(r" -j (\S+)(.*)$", line):
        for target in ("RETURN", "DROP", "ACCEPT"):
            if match[1] != target:
                yield f"target {target}", line[: match.start()] + f" -j {target}"


def changed_lines(line: str) -> Iterator[tuple[str, str]]:
    """Every way in which one rule may say something else."""
    for words in (_addresses, _ports, _choices, _translations, _matches):
        for kind, changed in words(line):
            if changed != line:
                yield kind, changed


def iptables_edits(text: str) -> Iterator[Edit]:
    """Every damage of a dump, in the order of its lines."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith(":"):
            yield from _chain_edits(lines, index)
        elif chain_of(line) is not None:
            yield from _rule_edits(lines, index)
        elif line.startswith("*"):
            end = lines.index("COMMIT", index)
            if any(chain_of(item) for item in lines[index:end]):
                kept = tuple(item for item in lines[index + 1 : end] if re.match(r":\S+ (?:ACCEPT|DROP)", item))
                yield _edit("table emptied", lines, index, replaced(lines, index + 1, end, *kept))


def _edit(kind: str, lines: list[str], index: int, make: object) -> Edit:
    assert callable(make)
    return Edit(kind=kind, place=f"line {index + 1}", label=lines[index], make=make)


def _rule_edits(lines: list[str], index: int) -> Iterator[Edit]:
    line, chain = lines[index], chain_of(lines[index])
    yield _edit("rule deleted", lines, index, replaced(lines, index, index + 1))
    yield _edit("rule doubled", lines, index, replaced(lines, index, index, line))
    if index + 1 < len(lines) and chain_of(lines[index + 1]) == chain:
        yield _edit("rules swapped", lines, index, replaced(lines, index, index + 2, lines[index + 1], line))
    for kind, changed in changed_lines(line):
        yield _edit(kind, lines, index, replaced(lines, index, index + 1, changed))


def _chain_edits(lines: list[str], index: int) -> Iterator[Edit]:
    name, policy = lines[index][1:].split()[:2]
    if policy == "ACCEPT":
        dropping = lines[index].replace(" ACCEPT ", " DROP ")
        yield _edit("policy", lines, index, replaced(lines, index, index + 1, dropping))
        return
    if policy != "-":
        return
    start = max(at for at in range(index) if lines[at].startswith("*"))
    end = lines.index("COMMIT", index)
    own = {at for at in range(index, end) if chain_of(lines[at]) == name}
    callers = {at for at in range(start, end) if re.search(rf" -[jg] {re.escape(name)}(?: |$)", lines[at])}

    def without(gone: set[int]) -> object:
        return lambda: "\n".join(item for at, item in enumerate(lines) if at not in gone) + "\n"

    def renamed(only_own: bool) -> str:
        """The chain under another name; with `only_own` its callers go on to one of the old name that is empty."""
        whole = re.compile(rf"(?<=[ :]){re.escape(name)}(?= |$)")
        out = list(lines)
        for at in range(start, end):
            if at == index or at in own or not only_own:
                out[at] = whole.sub(_other_name(name), out[at])
        if only_own:
            out.insert(index, lines[index])
        return "\n".join(out) + "\n"

    yield _edit("chain deleted", lines, index, without({*own, index}))
    if callers:
        yield _edit("chain deleted with all jumps to it", lines, index, without({*own, *callers, index}))
    if own:
        yield _edit("chain emptied", lines, index, without(own))
        yield _edit("chain renamed", lines, index, lambda: renamed(only_own=False))
        yield _edit("chain renamed without those who jump to it", lines, index, lambda: renamed(only_own=True))


def _other_name(name: str) -> str:
    """A name of the same form: the hash of a Service or endpoint that is not there, else a longer one."""
    head, _, last = name.rpartition("-")
    if re.fullmatch(r"KUBE-(?:SVC|SVL|SEP|EXT|XLB|FW)", head) and len(last) == 16:
        return f"{head}-{last[::-1]}"
    return f"{name}-OLD"
