"""Plain YAML is read as PyYAML reads it, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kdiag.parse.plain_yaml import read_plain
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster

WORDS = (
    *("Node,RBAC", "a,", "a::b", "10.244.0.0/16,fd00:10::/56", "10.244.0.0/16,::/0", "fd00:10::/64", "a:::", "a,: b"),
    *(
        "a",
        "mode",
        "iptables",
        "0s",
        "1h0m0s",
        "250ms",
        "10.96.0.10",
        "10.244.0.0/16",
        "0.0.0.0:10256",
        "/var/lib/x.conf",
    ),
    *(
        "k8s.gcr.io/pause:3.9",
        "v1.30.0",
        "''",
        '""',
        '"a b: c"',
        "'#'",
        "null",
        "true",
        "false",
        "{}",
        "[]",
        "0",
        "-1",
        "17",
    ),
    *(
        "yes",
        "No",
        "on",
        "OFF",
        "True",
        "NULL",
        "~",
        "00",
        "017",
        "0x1f",
        "1_000",
        "1:30",
        "2001-12-14",
        "1e3",
        ".5",
        "1.5",
    ),
    *(
        "a: b",
        "a:",
        "- a",
        "a #b",
        "#b",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "@",
        "`",
        "%",
        "a'b",
        "'a",
        '"a',
        r'"\n"',
        "{a: b}",
    ),
    *(
        "[a]",
        "a,b",
        "fd00::/64",
        "<<",
        "=",
        "-",
        "",
        " ",
        "é",
        "\t",
        "a\tb",
        "1s2",
        "5h30m",
        "0b1",
        "+1",
        "-0",
        "a\u2028b",
    ),
)
KEYS = ("a", "b", "kind", "apiVersion", "config.conf", "yes", "null", "x-y", "on", "1", "a b", "?", "- a", "<<")


def by_library(text: str) -> Any:
    """What PyYAML makes of it; an exception is not equal to anything."""
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        return error


LINES = st.builds(
    lambda spaces, key, between, word: " " * spaces + key + between + word,
    st.integers(0, 5),
    st.sampled_from(KEYS) | st.just("-") | st.just(""),
    st.sampled_from((": ", ":", " ", "", ":  ", " : ")),
    st.sampled_from(WORDS) | st.just(""),
)


@settings(max_examples=2000)
@given(st.lists(LINES, max_size=7))
def test_whatever_is_read_is_what_the_library_reads(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = read_plain(text)
    assert found is None or repr(found) == repr(by_library(text))


PLAIN_WORDS = [word for word in WORDS if read_plain(f"a: {word}") is not None]
VALUES = st.sampled_from(PLAIN_WORDS).map(lambda word: yaml.safe_load(f"a: {word}")["a"])
TREES = st.recursive(
    VALUES | st.lists(VALUES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(("a", "kind", "x-y", "config.conf")), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(("a", "kind", "apiVersion")), TREES, min_size=1), st.booleans())
def test_what_programs_write_is_read(tree: dict[str, Any], indented: bool) -> None:
    class Indented(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless and not indented)

    text = yaml.dump(tree, Dumper=Indented, width=999)
    assert repr(read_plain(text)) == repr(by_library(text))


@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_what_kubeadm_wrote_is_plain(name: str) -> None:
    import json

    texts = [
        text
        for recording_name, recording in cluster(name).api.items()
        if recording_name.endswith("configmaps")
        for item in json.loads(recording.content)["items"]
        if item["metadata"]["name"] in ("kube-proxy", "kubeadm-config")
        for key, text in item["data"].items()
        if key in ("config.conf", "ClusterConfiguration")
    ]
    assert texts
    for text in texts:
        found = read_plain(text)
        assert found is not None
        assert found == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "- a",
        " a: b",
        "a: b\n  c: d",
        "a:\n    b: c\n  d: e",
        "a:\n- b\n  - c",
        "a: b\na: c",
        "a:\n  b\n",
        "---\na: b",
        "a: b\n# c",
        "a: b ",
        "a: b\r\n",
        "a:\n- b: c",
        "a:\n-",
        "a: yes",
        "no: b",
        "a: 017",
        "a: 1:30",
        "a: é",
    ],
)
def test_what_is_not_plain_is_left_to_the_library(text: str) -> None:
    assert read_plain(text) is None


def test_lists_stand_below_their_key_or_further_in() -> None:
    assert read_plain("a:\n- b\n- 1\nc:\n  - d\ne:\n\nf: {}\n") == {"a": ["b", 1], "c": ["d"], "e": None, "f": {}}
