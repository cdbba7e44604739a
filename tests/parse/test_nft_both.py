"""The two forms of `nft list ruleset` say the same."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from kdiag.model.nft import (
    Aside,
    Limit,
    NftRuleset,
    NftTable,
    UnknownStatement,
)
from kdiag.parse.nft_json import parse_nft_json
from kdiag.parse.nft_text import parse_nft_text
from tests.corpus_fixtures import cluster
from tests.parse.nft_samples import DIRECTORY, differences


def _table(ruleset: NftRuleset, family: str, name: str) -> NftTable:
    table = ruleset.table(family, name)
    assert table is not None
    return table


def _rich() -> tuple[NftRuleset, NftRuleset]:
    json, text = (DIRECTORY / "rich.json").read_bytes(), (DIRECTORY / "rich.txt").read_text()
    return parse_nft_json(json, "json"), parse_nft_text(text, "text")


def test_the_rich_rule_set_is_the_same_in_both_forms() -> None:
    json, text = _rich()
    assert differences(json, text) == []
    assert len(_table(text, "ip", "rich").chains["fil"].rules) > 110


def test_a_difference_would_be_seen() -> None:
    json, _ = _rich()
    changed = (DIRECTORY / "rich.txt").read_text().replace("10.244.1.10:80 #", "10.244.1.11:80 #")
    (found, _text) = differences(json, parse_nft_text(changed, "text"))
    assert found.startswith("statements: ")


def test_nothing_of_the_rich_rule_set_is_lost_but_what_is_named_here() -> None:
    json, text = _rich()
    for ruleset in (json, text):
        unknown = {
            statement.text.split()[0].strip('{":')
            for table in ruleset.tables
            for chain in table.chains.values()
            for rule in chain.rules
            for statement in rule.statements
            if isinstance(statement, UnknownStatement)
        }
        assert {word.split('"')[0] for word in unknown} == {"fwd", "synproxy"}
        assert ruleset.complete
    assert text.unread == ()
    assert [item.reason for item in json.unread] == ["table inet rich has flags that cannot be read"]
    assert _table(text, "inet", "rich").flags == {"dormant"}


def test_rules_are_printed_in_nft_s_own_words() -> None:
    json, _ = _rich()
    lines = {line.strip() for line in (DIRECTORY / "rich.txt").read_text().splitlines()}
    printed = [
        rule.text + (f' comment "{rule.comment}"' if rule.comment else "") + f" # handle {rule.handle}"
        for table in json.tables
        for chain in table.chains.values()
        for rule in chain.rules
    ]
    strange = [line for line in printed if line not in lines]
    assert [line[:10] for line in strange] == ['{"synproxy', "add @seen ", "update @m-"]


def test_recorded_kube_proxy_tables_are_the_same_in_both_forms() -> None:
    json = parse_nft_json(cluster("v1.36.2-nftables-nft").nodes["node01"]["nft-j-list-ruleset"].text(), "json")
    text = parse_nft_text(gzip.decompress((DIRECTORY / "v1.36.2-node01.txt.gz").read_bytes()).decode(), "text")
    assert differences(json, text) == []
    assert json.unread == text.unread == ()
    assert json.version == "1.0.6"
    assert len(_table(text, "ip", "kube-proxy").sets["cluster-ips"].elements) > 40
    assert not any(
        isinstance(statement, UnknownStatement)
        for table in text.tables
        for chain in table.chains.values()
        for rule in chain.rules
        for statement in rule.statements
    )


def test_rules_of_iptables_nft_have_unknown_parts_and_known_verdicts() -> None:
    probes = cluster("dual-v1.36.2-iptables-nft").nodes["node01"]
    json = parse_nft_json(probes["nft-j-list-ruleset"].text(), "json")
    assert json.unread == ()
    table = _table(json, "ip", "nat")
    assert table.chains["PREROUTING"].rules[0].text.endswith("jump KUBE-SERVICES")
    statements = table.chains["PREROUTING"].rules[0].statements
    assert Aside('xt match "comment"') in statements
    unknown = {
        statement.text
        for chain in table.chains.values()
        for rule in chain.rules
        for statement in rule.statements
        if isinstance(statement, UnknownStatement)
    }
    assert 'xt match "recent"' in unknown
    assert all(text.startswith("xt ") for text in unknown)


def _list(rules: Path, directory: Path) -> None:
    """Load rules into a network namespace of its own and write what nft lists of them; skips if that is not possible."""
    if os.geteuid() != 0 or not (shutil.which("nft") and shutil.which("unshare")):
        pytest.skip("needs root, nft and unshare")
    script = """
        ip link set lo up
        nft -f "$1" || exit 77
        cd "$2" || exit 1
        for option in -a -n -S -s; do
            nft $option list ruleset > t$option && nft -j $option list ruleset > j$option || exit 1
        done
    """
    ran = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", rules, directory], capture_output=True, text=True, check=False
    )
    if ran.returncode == 77 or "unshare:" in ran.stderr:
        pytest.skip(f"this kernel or nft has not all of it: {ran.stderr[:300]}")
    assert ran.returncode == 0, ran.stderr


def test_what_the_installed_nft_lists_is_the_same_in_both_forms(tmp_path: Path) -> None:
    _list(DIRECTORY / "rich.nft", tmp_path)
    listed = {
        option: (
            parse_nft_json((tmp_path / f"j{option}").read_bytes(), "json"),
            parse_nft_text((tmp_path / f"t{option}").read_text(), "text"),
        )
        for option in ("-a", "-n", "-S", "-s")
    }
    json, text = listed["-a"]
    assert differences(json, text) == []
    assert len(_table(text, "ip", "kube-proxy").chains) == 14
    # With -S and -s, and for kube-proxy's table also with -n, the same is read as without.
    assert differences(listed["-S"][0], _without_texts(listed["-S"][1], json)) == []
    assert differences(listed["-n"][0], _without_texts(listed["-n"][1], json), table="kube-proxy") == []
    assert differences(listed["-s"][0], listed["-s"][1]) == []


def _without_texts(text: NftRuleset, like: NftRuleset) -> NftRuleset:
    """The rule set with the rules' texts of another: numbers and names are printed as `-n` and `-S` have them."""

    def table(each: NftTable) -> NftTable:
        other = _table(like, each.family, each.name)
        chains = {
            name: structs.replace(
                chain,
                rules=tuple(
                    structs.replace(rule, text=printed.text)
                    for rule, printed in zip(chain.rules, other.chains[name].rules, strict=True)
                ),
            )
            for name, chain in each.chains.items()
        }
        return structs.replace(each, chains=chains)

    return structs.replace(text, tables=tuple(table(each) for each in text.tables))


def test_a_budget_inside_a_set_update_is_a_budget() -> None:
    for ruleset in _rich():
        limits = [
            statement.text
            for rule in _table(ruleset, "ip", "rich").chains["fil"].rules
            for statement in rule.statements
            if isinstance(statement, Limit) and statement.text.startswith("add ")
        ]
        assert limits == ["add @seen { ip saddr limit rate 10/second }"]
