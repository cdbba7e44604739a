"""YAML and JSON text of strangers → plain values with the lines that they begin at.

Only the safe loader's types come out, and nothing that is larger than its text: aliases are counted with all that they
stand for, before anything is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kdiag.errors import ParseError

NESTING_LIMIT = 100
"""Levels of mappings and lists. A pod template needs less than twenty."""

EXPANDED_LIMIT = 1_000_000
"""Values in one document, each alias counted with everything that it stands for."""

_MALFORMED_JSON = (json.JSONDecodeError, RecursionError)
# The loader in C is ten times as fast; PyYAML may be built without it.
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """The safe loader without times: Kubernetes has none in YAML, an unquoted date stays text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document. `line` is where it begins (1-based, 0: not known), `item_lines` where the entries of its `items` do."""

    content: object
    line: int = 0
    item_lines: tuple[int, ...] = ()


def load_documents(text: str) -> tuple[Document, ...]:
    """The documents of a YAML stream, or the one of a JSON file; empty ones are left out.

    Raises ParseError, with the line, for text that is neither, a key that stands twice in one mapping, nesting deeper
    than 100 levels, an alias of something that holds it, and for more than a million values.
    """
    if text.lstrip()[:1] in ("{", "["):
        # JSON may be indented with tabs, which YAML does not allow.
        try:
            return (Document(content=json.loads(text)),)
        except _MALFORMED_JSON:
            pass
    try:
        _refuse_depth(text)
        return tuple(_documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise ParseError(f"not YAML: {words}", line=_line(mark)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ParseError(f"not YAML: {' '.join(str(error).split())}") from None


def _refuse_depth(text: str) -> None:
    """Goes through the events one by one: to compose what is nested too deep could exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > NESTING_LIMIT:
                raise ParseError(f"nested deeper than {NESTING_LIMIT} levels", line=_line(event.start_mark))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _documents(text: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            _refuse_odd(node)
            content = loader.construct_document(node)
            if content is not None:
                yield Document(content=content, line=_line(node.start_mark), item_lines=tuple(_item_lines(node)))
    finally:
        loader.dispose()


def _refuse_odd(root: yaml.Node) -> None:
    """Raises ParseError for an alias of something around it, for too many values, and for a key that stands twice."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise ParseError("an alias stands for something that holds it", line=_line(node.start_mark))
        if id(node) not in sizes:
            open_nodes.add(id(node))
            total = 1
            if isinstance(node, yaml.MappingNode):
                _refuse_twins(node)
                total += sum(size(key) + size(value) for key, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                total += sum(size(item) for item in node.value)
            open_nodes.remove(id(node))
            sizes[id(node)] = total
        if sizes[id(node)] > EXPANDED_LIMIT:
            raise ParseError(
                f"more than {EXPANDED_LIMIT} values, each alias counted with all that it stands for",
                line=_line(node.start_mark),
            )
        return sizes[id(node)]

    size(root)


def _refuse_twins(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ParseError(f"the key {key.value!r} stands twice in one mapping", line=_line(key.start_mark))
            seen.add((key.tag, key.value))


def _item_lines(node: yaml.Node) -> Iterator[int]:
    """Where the entries of the key `items` begin, if there is one."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and key.value == "items" and isinstance(value, yaml.SequenceNode):
            for item in value.value:
                yield _line(item.start_mark)


def _line(mark: Any) -> int:
    """1-based; 0 without a mark."""
    return 0 if mark is None else int(mark.line) + 1
