from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from kdiag.model.overview import AddressRange, AddressRanges, RangeKind
from kdiag.model.trace import Trace
from kdiag.render.style import Style
from kdiag.render.svg import SVG
from kdiag.render.svg_map import REGIONS_SHOWN, map_svg
from kdiag.render.svg_trace import walk_svg
from tests.render.samples import GOOD_BRANCH, HEALTHY, TRACE, network, step
from tests.render.test_address_map import DOCKER, NODE, PODS, SERVICES, of
from tests.render.traces import HOSTILE, named, undecided, without_walk

TAGS = {"svg", "title", "desc", "style", "g", "rect", "path", "text", "defs", "pattern"}
RANGES = AddressRanges(ranges=(SERVICES, PODS, NODE, DOCKER))


def parsed(text: str) -> ET.Element:
    """The picture; fails if it is not well-formed or holds anything but shapes and text."""
    root = ET.fromstring(text)
    for item in root.iter():
        assert item.tag.removeprefix("{http://www.w3.org/2000/svg}") in TAGS
        assert not {key for key in item.attrib if key.startswith("on") or "href" in key or key == "style"}
    return root


def items(root: ET.Element, tag: str) -> Iterator[ET.Element]:
    return root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")


def words(root: ET.Element) -> list[str]:
    return ["".join(item.itertext()) for item in items(root, "text")]


def number(item: ET.Element, key: str) -> float:
    return float(item.get(key, "nan"))


@pytest.mark.parametrize(
    "trace", [TRACE, undecided(), without_walk(), *map(named, HOSTILE), *map(without_walk, HOSTILE)]
)
def test_every_trace_is_a_picture(trace: Trace) -> None:
    root = parsed(SVG.trace(trace, Style()))
    width, height = number(root, "width"), number(root, "height")
    for box in items(root, "rect"):
        assert 0 <= number(box, "x") <= number(box, "x") + number(box, "width") <= width
        assert 0 <= number(box, "y") <= number(box, "y") + number(box, "height") <= height
    assert root.get("role") == "img"
    names = {item.get("id") for item in root.iter()}
    assert set(root.get("aria-labelledby", "").split()) <= names


def test_boxes_do_not_cover_each_other() -> None:
    tall = tuple(step(line, "CHAIN", f"LOG {line}", depth=0) for line in range(1, 30))
    assert TRACE.walk is not None
    long = replace(TRACE.walk, branches=(replace(GOOD_BRANCH, steps=tall, share=1.0), *TRACE.walk.branches))
    forked = replace(
        TRACE.walk,
        branches=tuple(
            replace(GOOD_BRANCH, steps=(*tall, step(40 + end, "CHAIN", f"DNAT to 10.0.0.{end}:80", depth=0)), share=0.5)
            for end in (1, 2)
        ),
    )
    for trace in (TRACE, undecided(), replace(TRACE, walk=long), replace(TRACE, walk=forked)):
        boxes = [
            (number(box, "x"), number(box, "y"), number(box, "width"), number(box, "height"))
            for box in items(parsed(SVG.trace(trace, Style())), "rect")
        ]
        for index, (x, y, width, height) in enumerate(boxes):
            for x2, y2, width2, height2 in boxes[index + 1 :]:
                assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y


def test_the_wrong_branch_has_a_word_a_mark_and_a_line_of_its_own() -> None:
    root = parsed(SVG.trace(TRACE, Style()))
    assert "WRONG, 50%" in words(root)
    assert "✗ 50%" in words(root)
    assert [item.get("class") for item in items(root, "path")].count("edge bad") == 4
    assert "WRONG, 50%: arrives at 10.244.1.9:80" in next("".join(item.itertext()) for item in items(root, "desc"))


def test_in_a_page_a_picture_has_no_style_of_its_own() -> None:
    assert TRACE.walk is not None
    root = parsed(walk_svg(TRACE.walk, key="trace-7"))
    assert list(items(root, "style")) == []
    assert {item.get("id") for item in root.iter() if item.get("id")} == {"trace-7-title", "trace-7-text"}
    assert list(items(parsed(map_svg(RANGES, alone=False)), "style")) == []
    assert "prefers-color-scheme:dark" in SVG.trace(TRACE, Style())


def test_the_map_is_to_scale() -> None:
    root = parsed(map_svg(RANGES))
    bars = {item.get("class"): item for item in items(root, "rect") if number(item, "x") >= 30}
    whole = next(item for item in items(root, "rect") if item.get("class") == "track" and number(item, "width") < 500)
    assert number(bars["overlap"], "width") == pytest.approx(number(whole, "width") / 4)
    assert number(bars["overlap"], "x") - number(whole, "x") == pytest.approx(number(whole, "width") / 4)
    assert "OVERLAPS pod range 10.244.0.0/16" in words(root)
    description = next("".join(item.itertext()) for item in items(root, "desc"))
    assert description == "4 ranges. docker0 on node01 10.244.64.0/18 OVERLAPS pod range 10.244.0.0/16."


def test_a_map_without_faults_and_without_anything() -> None:
    assert "None overlaps another" in map_svg(AddressRanges(ranges=(SERVICES,)))
    assert "No address range is known." in words(parsed(SVG.report(HEALTHY, Style())))
    drawn = SVG.report(replace(HEALTHY, address_ranges=RANGES), Style())
    assert drawn == map_svg(RANGES) + "\n"


def test_many_regions_are_counted_and_nothing_sticks_out() -> None:
    far = tuple(of(RangeKind.RESERVED, f"{number}.0.0.0/24") for number in range(1, 101))
    root = parsed(map_svg(AddressRanges(ranges=far)))
    assert f"and {100 - REGIONS_SHOWN} more ranges, from 41.0.0.0 to 100.0.0.255" in words(root)
    crowded = tuple(of(RangeKind.RESERVED, f"10.{number}.0.0/28") for number in range(30))
    for item in items(parsed(map_svg(AddressRanges(ranges=crowded))), "rect"):
        assert float(item.get("x", 0)) + number(item, "width") <= 1000.01


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_on_the_map(name: str) -> None:
    item = AddressRange(
        kind=RangeKind.HOST_NETWORK, network=network("fd00::/64"), label=name * 8, used=1, usable=0, used_by=name
    )
    parsed(map_svg(AddressRanges(ranges=(item,))))
