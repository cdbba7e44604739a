from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from kdiag.model.overview import AddressRange, AddressRanges, RangeKind
from kdiag.render.style import Style
from kdiag.render.text_map import REGIONS_SHOWN, map_lines
from kdiag.render.text_report import report_text
from tests.render.samples import HEALTHY, network
from tests.render.test_address_map import DOCKER, NODE, PODS, SERVICES, of

RANGES = AddressRanges(ranges=(SERVICES, PODS, NODE, DOCKER))


def text(*ranges: AddressRange, style: Style | None = None) -> str:
    return "\n".join(map_lines(AddressRanges(ranges=ranges), style or Style(width=80)))


def test_whole_map_in_ascii() -> None:
    assert text(*RANGES.ranges, style=Style(width=80, ascii_only=True)) == (
        "Address ranges\n"
        "  # range, = inside another, as it should be, X OVERLAPS another, | narrower\n"
        "  than a column\n"
        "\n"
        "IPv4\n"
        "  10.0.0.0 [...................AAAA..........................B..] 10.255.255.255\n"
        "\n"
        "  A  10.96.0.0 to 10.111.255.255  (1,048,576 addresses)\n"
        "    ##########################  Service range 10.96.0.0/12\n"
        "                                  [|---------] <0.1% used: 13 of 1,048,574\n"
        "\n"
        "  B  10.244.0.0 to 10.244.255.255  (65,536 addresses)\n"
        "    ##########################  pod range 10.244.0.0/16\n"
        "                                  [|---------] 1.2% given to nodes: 768 of\n"
        "                                    65,536\n"
        "    |.........................    pod range of node01 10.244.1.0/24\n"
        "                                    [|---------] 3.2% used: 8 of 253\n"
        "    ......XXXXXXX.............  docker0 on node01 10.244.64.0/18\n"
        "                                  OVERLAPS pod range 10.244.0.0/16"
    )


@pytest.mark.parametrize("width", [80, 160])
def test_it_fits_and_unicode_is_the_same_picture(width: int) -> None:
    ascii_text = text(*RANGES.ranges, style=Style(width=width, ascii_only=True))
    unicode_text = text(*RANGES.ranges, style=Style(width=width))
    assert max(map(len, unicode_text.splitlines())) <= width
    drawn = str.maketrans("█▒▚▏▕░·", "#=X|[-.")
    assert [len(line) for line in ascii_text.splitlines()] == [len(line) for line in unicode_text.splitlines()]
    assert "▚▚▚" in unicode_text
    assert ascii_text.isascii()
    bars = [line.translate(drawn) for line in unicode_text.splitlines() if "pod range of node01" in line]
    assert bars == [line for line in ascii_text.splitlines() if "pod range of node01" in line]


def test_colour_is_not_the_only_sign() -> None:
    coloured = text(*RANGES.ranges, style=Style(width=80, colour=True))
    assert "\x1b[1;31m  OVERLAPS pod range" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text(*RANGES.ranges)


@pytest.mark.parametrize(
    ("used", "gauge"),
    [
        (0, "[----------]"),
        (1, "[|---------]"),
        (5, "[#---------]"),
        (50, "[#####-----]"),
        (99, "[#########-]"),
        (100, "[##########]"),
    ],
)
def test_a_gauge_is_full_only_when_it_is(used: int, gauge: str) -> None:
    item = of(RangeKind.SERVICE, "10.0.0.0/24", used=used, usable=100, used_by="Services")
    assert gauge in text(item, style=Style(width=80, ascii_only=True))


def test_a_single_address() -> None:
    assert "A  192.0.2.1 to 192.0.2.1  (1 address)" in text(of(RangeKind.NODE_NETWORK, "192.0.2.1/32", "node01"))


def test_regions_that_fall_into_one_column_are_side_by_side() -> None:
    shown = text(
        of(RangeKind.SERVICE, "10.0.0.0/24"), of(RangeKind.POD, "10.1.0.0/20"), of(RangeKind.POD, "10.250.0.0/16")
    )
    assert re.search(r"▕AB·+C·*▏", shown)


def test_many_regions_are_counted() -> None:
    far = [of(RangeKind.RESERVED, f"{number}.0.0.0/24") for number in range(1, 31)]
    shown = text(*far)
    assert f"and {30 - REGIONS_SHOWN} more ranges, from 17.0.0.0 to 30.0.0.255" in shown
    crowded = [of(RangeKind.RESERVED, f"10.{number}.0.0/28") for number in range(30)]
    assert "+" in text(*crowded).splitlines()[4]


def test_nothing_known() -> None:
    assert map_lines(AddressRanges(), Style()) == []


def test_hostile_names_are_escaped() -> None:
    shown = text(AddressRange(kind=RangeKind.HOST_NETWORK, network=network("10.0.0.0/24"), label="\x1b[2J\u202e"))
    assert {ch for ch in shown if not ch.isprintable()} == {"\n"}


def test_the_report_has_the_map_where_it_was_asked_for() -> None:
    assert "Address ranges" not in report_text(HEALTHY, Style())
    shown = report_text(replace(HEALTHY, address_ranges=RANGES), Style())
    assert "\n\nAddress ranges\n" in shown
    assert shown.splitlines()[-1].startswith("0 errors")
    assert report_text(replace(HEALTHY, address_ranges=AddressRanges()), Style()) == report_text(HEALTHY, Style())
