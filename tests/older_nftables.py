"""The rules that kube-proxy 1.30 to 1.32 writes in nftables mode, made from those of 1.36.

Until 1.32 every endpoint has a chain of its own, which marks its hairpin traffic and translates; a Service's chain marks what
is not from pods and chooses an endpoint's chain; marks are set in chain mark-for-masquerade (pkg/proxy/nftables/proxier.go).
"""

from __future__ import annotations

import re
import tarfile
from base64 import b32encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

_TEXTS = Path(__file__).parent / "corpus" / "nft-text.tar.xz"
_LOADED = Path(__file__).parent / "corpus" / "nft-json-1.31.tar.xz"

MARKED = "meta mark set meta mark | 0x00004000"
_TO_CHAIN = re.compile(r"(\S+) \. (tcp|udp|sctp) \. (\d+)(?: comment \"[^\"]*\")? : goto ((?:service|local)-[^\s,]+)")
_BALANCED = re.compile(r"\t\tmeta l4proto (\w+) dnat ip6? to numgen random mod (\d+) map \{ (.*) \}")


def nft_text(cluster_name: str, node: str) -> str:
    """What `nft list ruleset` printed on a node of a recorded cluster."""
    with tarfile.open(_TEXTS) as archive:
        member = archive.extractfile(f"./{cluster_name}/{node}.txt")
        assert member is not None
        return member.read().decode()


def nft_json_1_31(cluster_name: str) -> bytes:
    """What `nft -j list ruleset` (1.0.6) printed after the text of `as_written_by_1_31` for node01 had been loaded."""
    with tarfile.open(_LOADED) as archive:
        member = archive.extractfile(f"./{cluster_name}/node01.json")
        assert member is not None
        return member.read()


def as_written_by_1_31(ruleset: str, pods: dict[str, str]) -> str:
    """Text of `nft list ruleset`, rewritten. `pods` is the cluster's pod range by table family (`ip`, `ip6`)."""
    tables = re.split(r"(?m)^(?=table )", ruleset)
    return "".join(_table(table, pods.get(table.split()[1])) for table in tables if table)


def _table(text: str, pods: str | None) -> str:
    family = text.split()[1]
    addresses = {found[4]: (found[1], found[2], found[3]) for found in _TO_CHAIN.finditer(text)}
    endpoints: dict[str, tuple[str, str, str]] = {}
    lines: list[str] = []
    chain = ""
    for line in _without_hairpins(text.splitlines()):
        if found := re.match(r"\tchain (\S+) \{", line):
            chain = found[1]
            lines.append(line)
            if chain in addresses and pods is not None:
                address, protocol, port = addresses[chain]
                lines.append(
                    f"\t\t{family} daddr {address} {protocol} dport {port} {family} saddr != {pods} jump mark-for-masquerade"
                )
        elif "@cluster-ips" in line and "saddr !=" in line:
            continue
        elif line.strip().startswith("meta mark & 0x00004000 != 0x00000000 meta mark set"):
            lines += [
                "\t\tmeta mark & 0x00004000 == 0x00000000 return",
                "\t\tmeta mark set meta mark ^ 0x00004000",
                "\t\tmasquerade fully-random",
            ]
        elif found := _BALANCED.match(line):
            chosen = []
            for element in found[3].split(", "):
                number, place = element.split(" : ")
                address, port = place.rsplit(" . ", 1)
                name = _endpoint_chain(chain.split("-", 2)[2], address, port)
                chosen.append(f"{number} : goto {name}")
                endpoints[name] = (found[1], address, port)
            lines.append(f"\t\tnumgen random mod {found[2]} vmap {{ {', '.join(chosen)} }}")
        elif found := re.match(r"\t\tmeta l4proto (\w+) dnat to (.*):(\d+)$", line):
            lines += [f"\t\t{family} saddr {found[2].strip('[]')} jump mark-for-masquerade", line]
        else:
            lines.append(line.replace(MARKED, "jump mark-for-masquerade"))
    end = max(index for index, line in enumerate(lines) if line == "}")
    return "\n".join([*lines[:end], *_chains(family, endpoints), "}", ""])


def _without_hairpins(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        inside = inside or line.strip().startswith("set hairpin-connections")
        if not inside and "@hairpin-connections" not in line:
            yield line
        if inside and line.strip() == "}":
            inside = False


def _chains(family: str, endpoints: dict[str, tuple[str, str, str]]) -> Iterator[str]:
    yield from ("\tchain mark-for-masquerade {", f"\t\t{MARKED}", "\t}")
    for name, (protocol, address, port) in endpoints.items():
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        yield f"\tchain {name} {{"
        yield f"\t\t{family} saddr {address} jump mark-for-masquerade"
        yield f"\t\tmeta l4proto {protocol} dnat to {host}"
        yield "\t}"


def _endpoint_chain(base: str, address: str, port: str) -> str:
    digest = b32encode(sha256(f"{base}__{address}/{port}".encode()).digest()).decode()[:8]
    return f"endpoint-{digest}-{base}__{address.replace(':', '.')}/{port}"
