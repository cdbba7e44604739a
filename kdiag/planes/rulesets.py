"""Which recordings of a node hold iptables rules, and the rule sets in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.report import Gap
from kdiag.model.rules import Backend, IpSet, Ruleset, Table
from kdiag.model.snapshot import Recording
from kdiag.parse.iptables_cut import cut_dump
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.parse.service_words import Key
from kdiag.planes.iptables_excerpts import sample_of
from kdiag.walk.ownership import IPTABLES_TABLES

if TYPE_CHECKING:
    from msgspec import Raw

    from kdiag.model.ipvs import IpvsTable
    from kdiag.model.nft import NftRuleset
    from kdiag.parse.nft_cut import NftCut

COMMANDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
# Per table, best first: the save format loses nothing, a listing without -v hides interfaces.
TABLE_FORMS = ("save-{table}", "save-c-{table}", "S-{table}", "Lnv-{table}", "Ln-{table}", "L-{table}")
TABLES = ("nat", "filter", "mangle", "raw")


LARGE_BYTES = 10_000
"""From this size on a dump is cut up (`kdiag.parse.iptables_cut`) and only an excerpt is read at first."""


def read_rulesets(
    node_name: str,
    probes: Mapping[str, Recording],
    iptables_version: str | None,
    cuts: dict[str, CutDump] | None = None,
    *,
    in_part: bool = False,
    counted: bool = True,
    like: dict[str, CutDump] | None = None,
) -> tuple[tuple[Ruleset, ...], tuple[Gap, ...]]:
    """Every rule set recorded on a node, one for each family and backend.

    Where `cuts` is given, large dumps are cut up (`in_part` if a few Services are asked about) and put there by source, and
    their rule sets are samples (see sample_of, also for `counted`). `like`, for dumps that are cut up as a whole, has one of another
    node for each probe; where it has none, one is put there.
    """
    rulesets: list[Ruleset] = []
    gaps: list[Gap] = []
    default = _backend_in(iptables_version or "")
    for family, command in COMMANDS.items():
        for infix, backend in (("", default), ("-nft", Backend.NFT), ("-legacy", Backend.LEGACY)):
            name = f"{command}{infix}"
            found = _read_one(node_name, probes, name, family, backend, gaps, cuts, in_part, counted, like)
            if found is not None and not any(_same_rules(found, other) for other in rulesets):
                rulesets.append(found)
    return tuple(rulesets), tuple(gaps)


def read_ipsets(node_name: str, probes: Mapping[str, Recording]) -> tuple[Mapping[str, IpSet] | None, tuple[Gap, ...]]:
    """The node's ipsets; None if they were not recorded."""
    recording = probes.get("ipset-save")
    if recording is None:
        return None, ()
    from kdiag.parse.ipset_save import parse_ipset_save

    ipsets, unread = parse_ipset_save(recording.text(), recording.source)
    if not unread:
        return ipsets, ()
    reason = f"{len(unread)} lines not understood, first at line {unread[0].line}: {unread[0].text}"
    return ipsets, (Gap(node=node_name, subject=recording.source, reason=reason),)


# `"table": {"family": "ip", "name": "nat"` in JSON, `table ip nat {` in text.
_NFT_TABLES = rb'(?m)"table":\s*\{\s*"family":\s*"(\w+)",\s*"name":\s*"([^"]+)"|^table (\w+) (\S+) \{'


def read_nft(
    node_name: str,
    probes: Mapping[str, Recording],
    rulesets: tuple[Ruleset, ...],
    cuts: list[NftCut] | None = None,
) -> tuple[NftRuleset | None, tuple[Gap, ...]]:
    """`nft list ruleset`, from JSON if it was recorded. None where it shows only what iptables-save shows better.

    Where `cuts` is given, large JSON is cut up and put there, and the rule set is an excerpt.
    """
    for probe, parse in (("nft-j-list-ruleset", _nft_json), ("nft-list-ruleset", _nft_text)):
        recording = probes.get(probe)
        content = b"" if recording is None or recording.exit_status else recording.content
        if recording is None or not content.strip():
            continue
        if not _has_tables_of_its_own(content, rulesets):
            return None, ()
        cut = None
        if cuts is not None and parse is _nft_json and len(content) >= LARGE_BYTES:
            cut = _nft_cut(content)
        if cut is not None and cuts is not None:
            cuts.append(cut)
            ruleset = _nft_objects(cut.sample(), cut, recording.source)
        else:
            try:
                # The recording may have to be read from where it lies: once is enough.
                ruleset = parse(content.decode("utf-8", errors="replace"), recording.source)
            except ParseError as error:
                return None, (Gap(node=node_name, subject=recording.source, reason=error.message),)
        if not ruleset.complete:
            return None, (Gap(node=node_name, subject=recording.source, reason="the dump is cut off inside a table"),)
        if ruleset.unread:
            first = ruleset.unread[0]
            reason = f"{len(ruleset.unread)} parts not understood, first at line {first.line}: {first.text[:200]}"
            return ruleset, (Gap(node=node_name, subject=recording.source, reason=reason),)
        return ruleset, ()
    return None, ()


def _has_tables_of_its_own(content: bytes, rulesets: tuple[Ruleset, ...]) -> bool:
    """False if all tables are those in which iptables-nft keeps the rules that `rulesets` hold."""
    printed = {
        "ip" if ruleset.family is Family.IPV4 else "ip6"
        for ruleset in rulesets
        if ruleset.backend is not Backend.LEGACY and ruleset.covers is None
    }
    for match in re.finditer(_NFT_TABLES, content):
        family, name = (match[1] or match[3]).decode(), (match[2] or match[4]).decode()
        if family not in printed or name not in IPTABLES_TABLES:
            return True
    return False


def read_ipvs(node_name: str, probes: Mapping[str, Recording]) -> tuple[IpvsTable | None, tuple[Gap, ...]]:
    """The virtual servers; None if they were not recorded."""
    for probe, parse in (
        ("ipvsadm-save-n", _ipvsadm_save),
        ("ipvsadm-Ln", _ipvsadm_list),
        ("proc-net-ip_vs", _proc_ip_vs),
    ):
        recording = probes.get(probe)
        if recording is None or recording.exit_status:
            continue
        try:
            table = parse(recording.text(), recording.source)
        except ParseError as error:
            return None, (Gap(node=node_name, subject=recording.source, reason=error.message),)
        if table.unread or not table.complete:
            reason = f"{len(table.unread)} lines not understood" if table.unread else "it is cut off inside a line"
            first = f", first at line {table.unread[0].line}: {table.unread[0].text}" if table.unread else ""
            return table, (Gap(node=node_name, subject=recording.source, reason=f"{reason}{first}"),)
        return table, ()
    return None, ()


# Each grammar is imported where a node has such a recording: most nodes have one or two kinds.


def _nft_json(text: str, source: str) -> NftRuleset:
    from kdiag.parse.nft_json import parse_nft_json

    return parse_nft_json(text, source)


def _nft_cut(content: bytes) -> NftCut | None:
    from kdiag.parse.nft_cut import cut_nft

    return cut_nft(content)


def _nft_objects(objects: Iterable[bytes | Raw], cut: NftCut, source: str) -> NftRuleset:
    from kdiag.parse.nft_json import parse_objects

    return parse_objects(objects, cut.line, source)


def _nft_text(text: str, source: str) -> NftRuleset:
    from kdiag.parse.nft_text import parse_nft_text

    return parse_nft_text(text, source)


def _ipvsadm_save(text: str, source: str) -> IpvsTable:
    from kdiag.parse.ipvsadm import parse_ipvsadm_save

    return parse_ipvsadm_save(text, source)


def _ipvsadm_list(text: str, source: str) -> IpvsTable:
    from kdiag.parse.ipvsadm import parse_ipvsadm_list

    return parse_ipvsadm_list(text, source)


def _proc_ip_vs(text: str, source: str) -> IpvsTable:
    from kdiag.parse.proc_ip_vs import parse_proc_ip_vs

    return parse_proc_ip_vs(text, source)


def _same_rules(one: Ruleset, other: Ruleset) -> bool:
    """True if two recordings show one rule set: of one backend, or word for word alike where a backend is not known."""
    if one.family is not other.family:
        return False
    if Backend.UNKNOWN not in (one.backend, other.backend):
        return one.backend is other.backend
    return _texts(one) == _texts(other)


def _texts(ruleset: Ruleset) -> list[str]:
    return [rule.text for table in ruleset.tables.values() for chain in table.chains.values() for rule in chain.rules]


def _backend_in(version_text: str) -> Backend:
    if "nf_tables" in version_text:
        return Backend.NFT
    return Backend.LEGACY if "legacy" in version_text else Backend.UNKNOWN


def _read_one(
    node_name: str,
    probes: Mapping[str, Recording],
    name: str,
    family: Family,
    backend: Backend,
    gaps: list[Gap],
    cuts: dict[str, CutDump] | None,
    in_part: bool,
    counted: bool,
    like: dict[str, CutDump] | None,
) -> Ruleset | None:
    whole_name = f"{name}-save"
    whole = probes.get(whole_name)
    if whole is not None:
        if whole.exit_status:
            gaps.append(
                Gap(
                    node=node_name,
                    subject=whole.source,
                    reason=f"{name}-save ended with status {whole.exit_status}: {_first_line(whole.stderr)}",
                )
            )
        else:
            content = whole.content
            cut = None
            if cuts is not None and len(content) >= LARGE_BYTES:
                known = like.get(whole_name) if like is not None else None
                alone = like is None or known is not None
                cut = cut_dump(content, in_part=in_part, like=known, alone=alone)
            if cut is not None and cuts is not None:
                sample = sample_of(cut, family, backend, whole.source, counted=counted)
                if not sample.unread:
                    cuts[whole.source] = cut
                    if like is not None:
                        like.setdefault(whole_name, cut)
                    return sample
            ruleset = _parse(node_name, whole, name, None, family, backend, gaps)
            if ruleset is not None:
                return ruleset
    parts: list[Ruleset] = []
    for table in TABLES:
        for form in TABLE_FORMS:
            recording = probes.get(f"{name}-{form.format(table=table)}")
            part = None if recording is None else _parse(node_name, recording, form, table, family, backend, gaps)
            if part is not None:
                parts.append(part)
                break
    return _joined(parts) if parts else None


def _parse(
    node_name: str,
    recording: Recording,
    form: str,
    table: str | None,
    family: Family,
    backend: Backend,
    gaps: list[Gap],
) -> Ruleset | None:
    covers = None if table is None else frozenset({table})
    try:
        if table is not None and form.startswith("L"):
            from kdiag.parse.iptables_list import parse_iptables_list

            ruleset = parse_iptables_list(
                recording.text(), family=family, table=table, backend=backend, source=recording.source
            )
        else:
            ruleset = parse_iptables_save(
                recording.text(), family=family, backend=backend, source=recording.source, covers=covers, table=table
            )
    except ParseError as error:
        gaps.append(Gap(node=node_name, subject=recording.source, reason=error.message))
        return None
    if not ruleset.complete:
        gaps.append(
            Gap(
                node=node_name,
                subject=recording.source,
                reason="the dump ends before COMMIT: it was cut off, and rules may be missing from it",
            )
        )
        return None
    if ruleset.unread:
        first = ruleset.unread[0]
        gaps.append(
            Gap(
                node=node_name,
                subject=recording.source,
                reason=f"{len(ruleset.unread)} lines not understood, first at line {first.line}: {first.text}",
            )
        )
    return ruleset


def whole_nft(cut: NftCut, source: str) -> NftRuleset:
    """All that `nft -j list ruleset` showed."""
    return _nft_json(cut.content.decode("utf-8", errors="replace"), source)


def nft_excerpt(
    cut: NftCut, source: str, chosen: Mapping[Family, tuple[Collection[bytes], Collection[Key], Collection[Key]]]
) -> NftRuleset:
    """What an excerpt of it holds (see NftCut.excerpt)."""
    return _nft_objects(cut.excerpt(chosen), cut, source)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "no message"


def _joined(parts: list[Ruleset]) -> Ruleset:
    """Tables that were dumped one by one, as one rule set that covers just these tables."""
    tables: dict[str, Table] = {}
    covers: set[str] = set()
    for part in parts:
        tables.update(part.tables)
        covers |= part.covers or set(part.tables)
    first = parts[0]
    return Ruleset(
        family=first.family,
        backend=first.backend,
        source=first.source,
        tables=tables,
        covers=frozenset(covers),
        unread=tuple(line for part in parts for line in part.unread),
        hides_interfaces=any(part.hides_interfaces for part in parts),
        version=first.version,
    )
