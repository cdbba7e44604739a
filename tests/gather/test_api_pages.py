"""Pages made into one list: nothing of an object changes but its managedFields, of which the latest time stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.gather.api_pages import JoinedPages, with_time_of_change
from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster

EARLY, LATE = "2026-01-02T03:04:05Z", "2026-05-06T07:08:09Z"
FIELDS: dict[str, Any] = {"f:spec": {'k:{"port":80}': {".": {}}, "v:]}": {}}}
CHANGES = [
    {"manager": "a]", "time": LATE, "fieldsV1": FIELDS},
    {"manager": "b", "time": EARLY, "fieldsV1": {}},
    {"manager": "c"},
]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def left(item: dict[str, Any]) -> dict[str, Any]:
    """What ought to be left of an object."""
    metadata = item["metadata"]
    changes = metadata.get("managedFields")
    if changes is None:
        return item
    times = [change["time"] for change in changes if change.get("time")]
    rest = {key: value for key, value in metadata.items() if key != "managedFields"}
    return {**item, "metadata": {**rest, **({"managedFields": [{"time": max(times)}]} if times else {})}}


OBJECTS: dict[str, dict[str, Any]] = {
    "as the server writes it": {"metadata": {"name": "a", "managedFields": CHANGES}, "spec": {"ports": []}},
    "in the middle": {"metadata": {"name": "a", "managedFields": CHANGES, "labels": {"x": "y"}}, "spec": {}},
    "behind owners": {"metadata": {"name": "a", "ownerReferences": [{"kind": "x"}], "managedFields": CHANGES}},
    "without a name": {"metadata": {"ownerReferences": [{"kind": "x"}], "managedFields": CHANGES}},
    "empty": {"metadata": {"name": "a", "managedFields": []}, "list": [{}]},
    "without a time": {"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}},
    "none": {"metadata": {"name": "a"}},
    "of a template": {"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"managedFields": CHANGES}}}},
    "of a template too": {
        "metadata": {"name": "a", "x": {"managedFields": CHANGES}, "managedFields": CHANGES},
        "spec": {"template": {"metadata": {"managedFields": CHANGES}}},
    },
    "as text": {
        "metadata": {
            "name": "a",
            "annotations": {"last": '{"metadata":{"managedFields":[{"time":"x"}]}}', "managedFields": "["},
            "managedFields": CHANGES,
        }
    },
    "a brace as text": {"metadata": {"name": "a", "annotations": {"x": "{{"}, "managedFields": CHANGES}},
    "not first": {"kind": "Service", "metadata": {"name": "a", "managedFields": CHANGES}},
    'a key that ends like it: x"managedFields': {"metadata": {'x"managedFields': CHANGES, "name": "a"}},
    "a time with a quote": {"metadata": {"managedFields": [{"time": 'a"\\\n'}]}},
}


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_latest_time_is_left_of_the_changes(name: str, spaced: bool) -> None:
    item = OBJECTS[name]
    encoded = json.dumps(item, indent=1).encode() if spaced else compact(item)
    short = with_time_of_change(encoded)
    assert json.loads(short) == left(item)
    assert b"\n" not in short
    if not spaced and "managedFields" not in item["metadata"]:
        assert short == encoded


def test_everything_else_stays_as_the_server_wrote_it() -> None:
    item = b'{"metadata":{"name":"\\u0061","managedFields":[{"time":"%s"}]},"x":1.50,"y":"\\/"}' % LATE.encode()
    assert with_time_of_change(item) == item


def any_json(*keys: str) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(alphabet='{}[]":,\\ managedFields\n', max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=3),
        max_leaves=12,
    )


JSON = any_json("metadata", "managedFields", "a", '"', "]")
IN_A_LIST = any_json("managedFields", "a", '"', "]")
"""What kdiag reads of a server has no lists of objects with metadata within objects."""


@given(
    before=st.dictionaries(st.sampled_from(["name", "labels", "x", "]"]), JSON, max_size=3),
    changes=st.lists(
        st.fixed_dictionaries({"time": st.sampled_from([EARLY, LATE, None])}, optional={"fieldsV1": JSON}), max_size=3
    ),
    after=st.dictionaries(st.sampled_from(["annotations", "y"]), JSON, max_size=2),
    rest=st.dictionaries(st.sampled_from(["spec", "status"]), JSON, max_size=2),
)
def test_of_any_object(
    before: dict[str, Any], changes: list[dict[str, Any]], after: dict[str, Any], rest: dict[str, Any]
) -> None:
    item = {"metadata": {**before, "managedFields": changes, **after}, **rest}
    assert json.loads(with_time_of_change(compact(item))) == left(item)


def page(items: list[object] | None, **metadata: str) -> bytes:
    return compact({"kind": "ServiceList", "apiVersion": "v1", "metadata": metadata, "items": items})


def joined(*pages: bytes) -> bytes:
    found = JoinedPages()
    for item in pages:
        found.add(item)
    return found.document()


def lines(document: bytes) -> list[bytes]:
    """The objects of a list, one a line."""
    return [line.removesuffix(b",") for line in document.split(b"\n")[1:-2]]


@pytest.mark.parametrize("name", OBJECTS)
def test_in_a_page_it_is_as_alone(name: str) -> None:
    other = {"metadata": {"name": "b", "managedFields": CHANGES, "labels": {}}, "spec": {"a": ["]}", "}]"]}}
    # A server writes all objects of a list alike: their metadata first, and the name first of these.
    alike = next(iter(OBJECTS[name])) == "metadata" and next(iter(OBJECTS[name]["metadata"])) == "name"
    mixed = ([OBJECTS[name], other], [other, OBJECTS[name]], [OBJECTS[name], other] * 3) if alike else ()
    for items in ([OBJECTS[name]], [OBJECTS[name]] * 2, *mixed):
        found = joined(page([*items]), page([*items]))
        assert json.loads(found)["items"] == [left(item) for item in items] * 2
        assert lines(found) == [with_time_of_change(compact(item)) for item in items] * 2


@given(
    rest=st.lists(st.dictionaries(st.sampled_from(["spec", "status"]), IN_A_LIST, max_size=2), min_size=1, max_size=4),
    labels=st.lists(IN_A_LIST, min_size=4, max_size=4),
    changes=st.lists(st.lists(st.fixed_dictionaries({"time": st.sampled_from([EARLY, LATE])}), max_size=2), max_size=4),
    between=st.sampled_from([b",", b",\n"]),
)
def test_a_page_is_as_its_objects_one_by_one(
    rest: list[dict[str, Any]], labels: list[Any], changes: list[list[dict[str, Any]]], between: bytes
) -> None:
    objects = [{"metadata": {"name": "a", "labels": found}, **item} for found, item in zip(labels, rest, strict=False)]
    for item, made in zip(objects, changes, strict=False):
        item["metadata"]["managedFields"] = made
    head = b'{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":['
    found = joined(head + between.join(map(compact, objects)) + b"]}")
    assert json.loads(found)["items"] == [left(item) for item in objects]
    assert lines(found) == [with_time_of_change(compact(item)) for item in objects]


class TestJoinedPages:
    ITEMS: tuple[dict[str, Any], ...] = tuple({"metadata": {"name": f"s{number}"}, "spec": {}} for number in range(5))

    def test_pages_become_one_list_with_one_object_a_line(self) -> None:
        pages = JoinedPages()
        assert pages.add(page([*self.ITEMS[:2]], resourceVersion="7", **{"continue": "t"})) == "t"
        assert pages.add(page([*self.ITEMS[2:]], resourceVersion="7")) == ""
        document = pages.document()
        assert json.loads(document) == json.loads(page([*self.ITEMS], resourceVersion="7"))
        assert document.split(b"\n")[1:3] == [compact(self.ITEMS[0]) + b",", compact(self.ITEMS[1]) + b","]
        assert document.endswith(b"\n]}\n")

    def test_the_version_is_that_of_the_last_page_and_a_list_that_goes_on_says_so(self) -> None:
        pages = JoinedPages()
        pages.add(page([self.ITEMS[0]], resourceVersion="7"))
        pages.add(page([self.ITEMS[1]], resourceVersion="8"))
        listed = json.loads(pages.document(continue_token="more"))
        assert listed["metadata"] == {"resourceVersion": "8", "continue": "more"}
        assert listed["items"] == [*self.ITEMS[:2]]

    @pytest.mark.parametrize("items", [[], None])
    def test_an_empty_list(self, items: list[object] | None) -> None:
        pages = JoinedPages()
        pages.add(page(items))
        assert json.loads(pages.document())["items"] == []

    @pytest.mark.parametrize("body", [b"<html>", b'{"kind":"Status"}', b'{"items":[{"metadata":{"name":"a"}}]}'])
    def test_what_is_no_list(self, body: bytes) -> None:
        with pytest.raises(ParseError, match="not a list"):
            JoinedPages().add(body)

    @pytest.mark.parametrize(
        "broken", ['{"metadata":{"name":"b"},"spec":{"ports":5}}', '{"metadata":{"a"}}', '{"metadata":{"name":"b"}']
    )
    def test_what_is_wrong_with_an_object_shows_when_it_is_read(self, broken: str) -> None:
        body = page([self.ITEMS[0], self.ITEMS[1]]).replace(compact(self.ITEMS[1]), broken.encode())
        _, gaps = parse_cluster({"services": Recording(source="cluster/services.json", content=joined(body))})
        assert any(gap.subject.startswith("services") for gap in gaps)

    def test_objects_that_are_not_on_one_line_each_are_read_all_the_same(self) -> None:
        whole = [{**item, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}} for item in self.ITEMS]
        plain = b'{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[\n%s\n]}\n'
        one_a_line = plain % b",\n".join(compact(item) for item in whole)
        several = plain % b",\n".join(json.dumps(item, indent=1).encode() for item in whole)
        first, second = (
            parse_cluster({"services": Recording(source="cluster/services.json", content=content)})
            for content in (one_a_line, several)
        )
        assert len(first[0].services) == len(whole)
        assert first == second
