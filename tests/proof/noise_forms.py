"""The same rules in every form that they are printed in: a real kernel holds them, and its own programs print them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from kdiag.model.snapshot import Recording, Snapshot

TABLES = ("nat", "filter", "mangle", "raw")
BACKENDS = {"nft": "iptables v1.8.9 (nf_tables)\n", "legacy": "iptables v1.8.9 (legacy)\n"}
FORMS = {"-save": "save-{table}", "-S": "S-{table}", "-L -n -v": "Lnv-{table}"}
"""How rules are printed, and what kdiag calls such a recording of one table."""

_COMMANDS = {
    "-save": "{command}-save -t {table}",
    "-S": "{command} -S -t {table}",
    "-L -n -v": "{command} -L -n -v -t {table}",
}
_DUMPS = ("iptables-save", "ip6tables-save")
# A match that counts and always holds; not every kernel has it.
_COUNTED = re.compile(rb" -m nfacct --nfacct-name +\S+")


def why_not() -> str | None:
    """Why no kernel can be asked here; None if one can."""
    missing = [name for name in ("unshare", "iptables-nft", "iptables-legacy") if shutil.which(name) is None]
    if missing:
        return f"there is no {missing[0]}"
    return None if os.geteuid() == 0 else "it takes root to load rules into a namespace"


def printed(snapshot: Snapshot, backend: str, form: str) -> Snapshot | None:
    """The snapshot with the iptables rules of all nodes as that backend and form print them; None if the rules cannot be
    loaded here (they ask for sets), or are in two backends.

    What else shows the rules (`nft list ruleset`, forms that were recorded) is left out, here as in `bare`.
    """
    nodes = {}
    for node, probes in bare(snapshot).nodes.items():
        if any("-legacy" in probe or "-nft-" in probe for probe in probes):
            return None
        found = {probe: item for probe, item in probes.items() if probe not in _DUMPS}
        for probe in _DUMPS:
            if probe not in probes:
                continue
            sets = probes["ipset-save"].text() if "ipset-save" in probes else ""
            tables = _tables(probes[probe].text(), sets, probe.removesuffix("-save"), backend, form)
            if tables is None:
                return None
            if "nat" not in tables:
                # Prints of single tables cannot say that there is no other.
                found[probe] = probes[probe]
                continue
            for table, text in tables.items():
                name = f"{probe.removesuffix('-save')}-{FORMS[form].format(table=table)}"
                found[name] = Recording(source=f"nodes/{node}/{name}.txt", content=text.encode(), exit_status=0)
        if "iptables-version" in found:
            found["iptables-version"] = found["iptables-version"].replaced(content=BACKENDS[backend].encode())
        nodes[node] = found
    return replace(snapshot, nodes=nodes)


def bare(snapshot: Snapshot) -> Snapshot:
    """The snapshot with one dump of each family on every node, and no other print of the same rules."""
    return replace(snapshot, nodes={node: _bare(probes) for node, probes in snapshot.nodes.items()})


def _bare(probes: Mapping[str, Recording]) -> dict[str, Recording]:
    other = re.compile(r"ip6?tables-(L|Ln|Lnv|S|save|save-c)-\w+|nft-.*")
    return {
        probe: item.replaced(content=_COUNTED.sub(b"", item.content)) if probe in _DUMPS else item
        for probe, item in probes.items()
        if not other.fullmatch(probe)
    }


@cache
def _tables(dump: str, sets: str, command: str, backend: str, form: str) -> Mapping[str, str] | None:
    """The tables that the dump has, printed by a kernel that holds them and the sets. Nothing leaves the namespace."""
    tables = [table for table in TABLES if f"*{table}\n" in dump]
    name = f"{command}-{backend}"
    with tempfile.TemporaryDirectory(prefix="kdiag-forms-") as directory:
        (Path(directory) / "dump").write_text(dump, encoding="utf-8")
        (Path(directory) / "sets").write_text(sets, encoding="utf-8")
        script = ["ipset restore < sets"] if sets else []
        script.append(f"{name}-restore < dump")
        script += [f"{_COMMANDS[form].format(command=name, table=table)} > {table}" for table in tables]
        done = subprocess.run(
            ["unshare", "--net", "sh", "-e", "-c", "\n".join(script)],
            cwd=directory,
            check=False,
            capture_output=True,
            timeout=120,
        )
        if done.returncode:
            return None
        return {table: (Path(directory) / table).read_text(encoding="utf-8") for table in tables}
