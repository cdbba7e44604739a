"""The words behind the addresses of one `iptables -L` line, and what has been made of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdiag.model.rules import Option


@dataclass(slots=True)
class Tail:
    """A cursor over the words, and the parts of the rule that were read from them. A comment is one word, `/* …`."""

    words: list[str]
    target: str | None
    index: int = 0
    modules: list[str] = field(default_factory=list)
    matches: list[Option] = field(default_factory=list)
    target_options: list[Option] = field(default_factory=list)
    comment: str | None = None
    goto: bool = False
    unknown: list[str] = field(default_factory=list)

    def peek(self, offset: int = 0) -> str:
        """The word at the cursor, or `offset` words on; empty behind the end."""
        position = self.index + offset
        return self.words[position] if position < len(self.words) else ""

    def take(self) -> str:
        """The word at the cursor, which moves on; empty at the end."""
        word = self.peek()
        self.index += 1
        return word

    def take_if(self, *wanted: str) -> bool:
        """Move over these words if they are the next; False if they are not."""
        if self.words[self.index : self.index + len(wanted)] != list(wanted):
            return False
        self.index += len(wanted)
        return True

    def take_value(self) -> tuple[str, bool]:
        """A value, and whether a `!` stood in front of it, glued to it or not."""
        word = self.take()
        if word == "!":
            return self.take(), True
        return (word[1:], True) if word.startswith("!") else (word, False)

    def match(self, module: str, option: str, *values: str, negated: bool = False) -> None:
        """Add an option of a match module."""
        self.matches.append(Option(module=module, name=option, values=values, negated=negated))

    def set_target_option(self, option: str, *values: str) -> None:
        """Add an option of the target."""
        self.target_options.append(Option(module=self.target or "", name=option, values=values))

    def same_rule(self, other: Tail) -> bool:
        """True if both readings differ in nothing but the comment."""
        return (
            [module for module in self.modules if module != "comment"],
            self.matches,
            self.target_options,
            self.goto,
            self.unknown,
        ) == (
            [module for module in other.modules if module != "comment"],
            other.matches,
            other.target_options,
            other.goto,
            other.unknown,
        )
