from __future__ import annotations

import pytest

from kdiag.errors import ParseError
from kdiag.parse.toml_document import parse_toml

TEXT = """\
# comment
a = 1
"b c" = 2

[tool.kdiag]  # settings
a = 3
'lit' = 4

[[accepted]]
code = "x"

  [[ accepted ]]
code = "y"
node.x = 1
"""


def test_lines() -> None:
    document = parse_toml(TEXT, "f.toml")
    assert document.content["tool"]["kdiag"] == {"a": 3, "lit": 4}
    assert [document.line_of(key) for key in ("a", "b c", "none")] == [2, 3, 0]
    assert [document.line_of(key, table="tool.kdiag") for key in ("a", "lit", "none")] == [6, 7, 5]
    assert [document.line_of("code", table="accepted", index=index) for index in (0, 1, 2)] == [10, 13, 0]
    assert document.line_of("node", table="accepted", index=1) == 14
    assert document.line_of("node", table="accepted") == 9
    assert (document.place(3), document.place(0)) == ("f.toml:3", "f.toml")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a = 1\nb =\n", "f.toml:2: not TOML: invalid value, column 4", 2),
        ("a = 1\na = 2\n", "f.toml:2: not TOML: cannot overwrite a value, column 6", 2),
        ('a = "', "f.toml is not TOML: ", 0),
        ("a = " + "[" * 100_000, "f.toml is not TOML that can be read: it is nested too deeply", 0),
    ],
)
def test_what_is_no_toml(text: str, message: str, line: int) -> None:
    with pytest.raises(ParseError) as caught:
        parse_toml(text, "f.toml")
    assert caught.value.message.startswith(message)
    assert caught.value.line == line
