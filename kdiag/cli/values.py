"""Values that belong together. Making a dataclass takes a millisecond, and a run would make several for its command line."""

from __future__ import annotations

from typing import Any, dataclass_transform


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Values:
    """A frozen dataclass in little, of which only type checkers see to it that nothing is changed or left out.

    Annotated names are its fields; what the class has of that name is the default.
    """

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - type(self).__annotations__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        vars(self).update(given)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The fields that have a default, in their order."""
        return {name: vars(cls)[name] for name in cls.__annotations__ if name in vars(cls)}

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in type(self).__annotations__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Values) and type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())
