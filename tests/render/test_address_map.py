from __future__ import annotations

import pytest

from kdiag.model.addresses import Family
from kdiag.model.overview import AddressRange, AddressRanges, RangeKind
from kdiag.render.address_map import (
    FOLDED_FROM,
    MapRegion,
    MapRow,
    Relation,
    address_map,
    kind_words,
    note_words,
    number_words,
    row_words,
    share_words,
    usage_words,
)
from tests.render.samples import network


def of(
    kind: RangeKind,
    text: str,
    label: str = "",
    used: int | None = None,
    usable: int | None = None,
    used_by: str | None = None,
) -> AddressRange:
    return AddressRange(kind=kind, network=network(text), label=label, used=used, usable=usable, used_by=used_by)


def regions(*ranges: AddressRange, shared: bool = False) -> tuple[MapRegion, ...]:
    families = address_map(AddressRanges(ranges=ranges, pods_in_node_network=shared))
    return tuple(region for family in families for region in family.regions)


def rows(*ranges: AddressRange, shared: bool = False) -> list[MapRow]:
    return [row for region in regions(*ranges, shared=shared) for row in region.rows]


SERVICES = of(RangeKind.SERVICE, "10.96.0.0/12", used=13, usable=1048574, used_by="Services")
PODS = of(RangeKind.POD, "10.244.0.0/16", used=768, usable=65536, used_by="nodes")
DOCKER = of(RangeKind.HOST_NETWORK, "10.244.64.0/18", "docker0 on node01")
NODE = of(RangeKind.NODE_POD, "10.244.1.0/24", "node01", used=8, usable=253, used_by="pods")


def test_nothing_known_is_no_map() -> None:
    assert address_map(AddressRanges()) == ()


def test_a_family_has_its_own_map() -> None:
    families = address_map(AddressRanges(ranges=(SERVICES, of(RangeKind.SERVICE, "fd00::/112"))))
    assert [item.family for item in families] == [Family.IPV4, Family.IPV6]
    assert [item.regions[0].mark for item in families] == ["A", "A"]


def test_regions_are_to_scale_and_far_ones_are_apart() -> None:
    first, second = regions(SERVICES, PODS, DOCKER)
    assert (str(first.first), str(first.last), first.size) == ("10.96.0.0", "10.111.255.255", 1 << 20)
    assert [row.spans for row in first.rows] == [((0.0, 1.0),)]
    assert [row.spans for row in second.rows] == [((0.0, 1.0),), ((0.25, 0.5),)]


def test_the_space_around_regions_is_as_small_as_it_can_be() -> None:
    (family,) = address_map(AddressRanges(ranges=(SERVICES, PODS, of(RangeKind.NODE_NETWORK, "192.168.56.0/24"))))
    (space,) = family.spaces
    assert space.network == network("10.0.0.0/8")
    assert space.places == (("A", 96 / 256, 112 / 256), ("B", 244 / 256, 245 / 256))
    (close,) = address_map(AddressRanges(ranges=(PODS, of(RangeKind.POD, "10.250.0.0/24"))))
    assert close.spaces[0].network == network("10.240.0.0/12")


def test_ipv6_spaces() -> None:
    ranges = (of(RangeKind.SERVICE, "fd00:10:96::/112"), of(RangeKind.POD, "fd00:10:244::/56"))
    (family,) = address_map(AddressRanges(ranges=ranges))
    assert family.spaces[0].network.supernet_of(ranges[1].network)  # type: ignore[arg-type]
    assert [region.size for region in family.regions] == [1 << 16, 1 << 72]
    apart = (of(RangeKind.SERVICE, "fd00::/112"), of(RangeKind.POD, "2001:db8::/56"))
    assert address_map(AddressRanges(ranges=apart))[0].spaces == ()


def test_neighbours_share_a_region() -> None:
    (region,) = regions(*(of(RangeKind.NODE_POD, f"10.42.{number}.0/24", f"n{number}") for number in range(3)))
    assert str(region.last) == "10.42.2.255"
    (near,) = regions(of(RangeKind.NODE_NETWORK, "192.0.2.10/32"), of(RangeKind.NODE_NETWORK, "192.0.2.200/32"))
    assert near.size == 191
    assert len(regions(of(RangeKind.NODE_NETWORK, "192.0.2.10/32"), of(RangeKind.NODE_NETWORK, "192.0.9.1/32"))) == 2


def test_nested_and_overlapping_are_told_apart() -> None:
    pods, node, docker = rows(PODS, NODE, DOCKER)
    assert (pods.relation, pods.inside, pods.depth) == (Relation.APART, None, 0)
    assert (node.relation, node.inside, node.depth) == (Relation.NESTED, "pod range 10.244.0.0/16", 1)
    assert (docker.relation, docker.overlaps) == (Relation.OVERLAPS, ("pod range 10.244.0.0/16",))
    assert note_words(node) == "in pod range 10.244.0.0/16"
    assert note_words(docker) == "OVERLAPS pod range 10.244.0.0/16"
    assert note_words(pods) == ""


@pytest.mark.parametrize(
    ("outer", "inner", "relation"),
    [
        (RangeKind.SERVICE, RangeKind.POD, Relation.OVERLAPS),
        (RangeKind.POD, RangeKind.SERVICE, Relation.OVERLAPS),
        (RangeKind.NODE_NETWORK, RangeKind.SERVICE, Relation.OVERLAPS),
        (RangeKind.RESERVED, RangeKind.POD, Relation.OVERLAPS),
        (RangeKind.RESERVED, RangeKind.HOST_NETWORK, Relation.NESTED),
        (RangeKind.POD, RangeKind.CNI_POOL, Relation.NESTED),
        (RangeKind.SERVICE, RangeKind.SERVICE, Relation.NESTED),
        (RangeKind.NODE_NETWORK, RangeKind.NODE_POD, Relation.OVERLAPS),
    ],
)
def test_which_kinds_may_share(outer: RangeKind, inner: RangeKind, relation: Relation) -> None:
    assert rows(of(outer, "10.0.0.0/16"), of(inner, "10.0.4.0/24"))[1].relation is relation


def test_the_same_network_twice_is_told_once() -> None:
    first, second = rows(of(RangeKind.SERVICE, "10.0.0.0/16"), of(RangeKind.POD, "10.0.0.0/16"))
    assert (first.relation, second.relation) == (Relation.APART, Relation.OVERLAPS)


def test_pods_in_the_network_of_the_nodes_by_design() -> None:
    ranges = (of(RangeKind.NODE_NETWORK, "10.0.0.0/16", "eth0 on 3 nodes"), of(RangeKind.CNI_POOL, "10.0.4.0/24"))
    assert rows(*ranges)[1].relation is Relation.OVERLAPS
    assert rows(*ranges, shared=True)[1].relation is Relation.NESTED
    assert rows(of(RangeKind.SERVICE, "10.0.0.0/16"), ranges[1], shared=True)[1].relation is Relation.OVERLAPS


def test_ranges_of_two_nodes_must_not_meet() -> None:
    one, other = of(RangeKind.NODE_POD, "10.0.0.0/23", "n1"), of(RangeKind.NODE_POD, "10.0.1.0/24", "n2")
    assert rows(one, other)[1].overlaps == ("pod range of n1 10.0.0.0/23",)
    assert rows(one, of(RangeKind.NODE_POD, "10.0.1.0/24", "n1"))[1].overlaps == ()


def test_many_of_a_kind_share_a_row_but_what_overlaps_stays_visible() -> None:
    nodes = [
        of(RangeKind.NODE_POD, f"10.244.{number}.0/24", f"node{number}", used=number, usable=253, used_by="pods")
        for number in range(FOLDED_FROM)
    ]
    pods, folded = rows(PODS, *nodes)
    assert (len(folded.ranges), folded.spans) == (FOLDED_FROM, ((0.0, FOLDED_FROM / 256),))
    assert row_words(folded) == "pod ranges of 7 nodes, 10.244.0.0/24 to 10.244.6.0/24"
    assert usage_words(folded) == "the fullest is 2.4% used"
    assert len(rows(PODS, *nodes[1:])) == FOLDED_FROM
    clash = of(RangeKind.NODE_POD, "10.244.3.0/24", "twin")
    assert [len(row.ranges) for row in rows(PODS, *nodes, clash)] == [1, FOLDED_FROM, 1]
    links = [of(RangeKind.HOST_NETWORK, f"10.9.{number}.0/24", f"br{number}") for number in range(FOLDED_FROM)]
    assert row_words(rows(*links)[0]) == (
        "7 ranges: other network of a node, 10.9.0.0/24 to 10.9.6.0/24"
    )  # fmt: skip
    assert usage_words(rows(*links)[0]) == ""
    assert pods.depth == 0


def test_words() -> None:
    assert usage_words(rows(SERVICES)[0]) == "<0.1% used: 13 of 1,048,574"
    assert usage_words(rows(PODS)[0]) == "1.2% given to nodes: 768 of 65,536"
    assert usage_words(rows(DOCKER)[0]) == ""
    hosts = of(RangeKind.NODE_NETWORK, "192.168.56.0/24", "eth0 on 3 nodes", used=3, usable=254, used_by="nodes")
    assert usage_words(rows(hosts)[0]) == "1.2% used: 3 of 254"
    assert kind_words(hosts) == "node network (eth0 on 3 nodes)"
    assert kind_words(NODE) == "pod range of node01"
    assert kind_words(of(RangeKind.NODE_POD, "10.0.0.0/24")) == "node's pod range"
    assert kind_words(of(RangeKind.HOST_NETWORK, "10.0.0.0/24")) == "other network of a node"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0%"), (0.0001, "<0.1%"), (0.5, "50%"), (0.333, "33.3%"), (0.9999, ">99.9%"), (1, "100%")],
)
def test_shares_are_never_rounded_to_nothing_or_all(share: float, words: str) -> None:
    assert share_words(share) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (65536, "65,536"), (1 << 64, "2^64"), ((1 << 64) - 2, "about 2^64")]
)
def test_numbers(number: int, words: str) -> None:
    assert number_words(number) == words


def test_marks_go_on_after_z() -> None:
    far = [of(RangeKind.RESERVED, f"{number}.0.0.0/24") for number in range(1, 30)]
    assert [region.mark for region in regions(*far)][24:29] == ["Y", "Z", "AA", "AB", "AC"]
