"""What is read without a parser of YAML is what the parser reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdiag.parse.api import parse_cluster
from kdiag.parse.plain_yaml import read_plain
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
clusterDNS:
- 10.96.0.10
- fd00:10:96::/112
clusterDomain: cluster.local
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
  verbosity: -3
memorySwap: {}

hosts:
    - 'a:b'
    - node01
rotateCertificates: true
"""


def by_parser(text: str) -> Any:
    content = yaml.safe_load(text)
    assert yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) == content
    return content


def is_read_alike(text: str) -> bool:
    """Whether it is read at all; if it is, it is as the parser reads it."""
    plain = read_plain(text)
    if plain is not None:
        # repr tells True from 1.
        assert repr(plain) == repr(by_parser(text))
    return plain is not None


def test_what_kubelets_are_told() -> None:
    assert is_read_alike(KUBELET)


@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_what_kubeadm_writes(name: str) -> None:
    state, _ = parse_cluster(cluster(name).api)
    for config_map in state.config_maps:
        for key in {"config.conf", "ClusterConfiguration"} & config_map.data.keys():
            assert is_read_alike(config_map.data[key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        " a: b",
        "a: b # c",
        "# c\na: b",
        "---\na: b",
        "a: b\n...",
        "a: b\n  c",
        "a: b\n  c: d",
        "a:\n  b: c\n d: e",
        "a: b\na: c",
        "a:\n- b\n- c: d",
        "a:\n- b\n -c",
        "a:\n  - b\n- c",
        "a: |\n  b",
        "a: &b c",
        "a: *b",
        "a: !!str 5",
        "a: [b]",
        "a: {b: c}",
        "a: 1.28",
        "a: 0x1f",
        "a: 010",
        "a: 1_000",
        "a: 1:30",
        "a: 2026-01-01",
        "a: ~",
        "a: Yes",
        "a: NULL",
        "yes: a",
        "a: 'it''s'",
        'a: "\\n"',
        "a: b c",
        "a:b",
        "a: b\r",
        "a:\tb",
        "a: b:",
    ],
)
def test_what_takes_a_parser(text: str) -> None:
    assert read_plain(text) is None


WORDS = st.sampled_from(
    "a b-c d_e 0 -1 -0 1 007 0s 1m30s 1e3 1.5 10.0.0.0 10.0.0.0/8 10.0.0.0/8,fd00::/64 ::1 fd00::1 on Off true False null ~ "
    '{} [] "" \'\' "0" \'x\' v1.36.2 x=y +a = << .inf 0b1 12:30 a: - -- | > & * ! % @ ` # "'.split(" ")
)
LINES = st.builds(
    lambda indent, dash, key, colon, word, end: " " * indent + dash + key + colon + word + end,
    st.integers(0, 4),
    st.sampled_from(("", "", "", "- ", "-")),
    st.sampled_from(("a", "b", "c", "key", "no", "y", "<<", "")),
    st.sampled_from((": ", ":", ": ", ":  ", "")),
    st.one_of(st.just(""), WORDS),
    st.sampled_from(("", "", "", " ", " # c", "\t")),
)


@given(st.lists(LINES, max_size=8))
def test_any_lines(lines: list[str]) -> None:
    is_read_alike("\n".join(lines))


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6), WORDS, st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(("kind", "mode", "iptables", "on", "y")), VALUES))
def test_whatever_is_written(content: dict[str, Any]) -> None:
    is_read_alike(yaml.safe_dump(content, default_flow_style=False))


@given(st.data())
def test_one_change(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(KUBELET)))
    length = data.draw(st.integers(0, 2))
    mark = data.draw(st.sampled_from(("", " ", "\n", ":", "-", "#", "0", "a", "'", '"', "{", ",", "\t", "é")))
    is_read_alike(KUBELET[:place] + mark + KUBELET[place + length :])
