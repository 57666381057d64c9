"""`users_count`: declares a field of `AiMetrics` that counts the users of several features together."""

import sys
from collections.abc import Collection, Iterator, Sequence

import msgspec


class UsersCount(msgspec.Struct, frozen=True):
    """A field of `AiMetrics` that counts users of several features, each user once.

    Attributes:
        name: name of the field.
        features: names of the features; empty for all.
        description: text for the schema.
        module: module that declares the field.
    """

    name: str
    features: tuple[str, ...]
    description: str
    module: str

    @property
    def file(self) -> str:
        """The file that declares the field."""
        return f"{self.module.replace('.', '/')}.py"


def users_count(name: str, *, features: Sequence[str] = (), description: str = "") -> None:
    """Declares a field of `AiMetrics`: the number of different users of the features.

        users_count("duoUsedCount", description="How many users used any feature.")

    Args:
        features: names of the features; by default all.
    """
    caller = sys._getframe(1).f_globals
    declared = UsersCount(name, tuple(features), description, caller["__name__"])
    caller.setdefault("__users_counts__", []).append(declared)


def users_count_problems(counts: Sequence[UsersCount], features: Collection[str]) -> Iterator[str]:
    """A line for each feature that a count names and no definition has."""
    for count in counts:
        for name in count.features:
            if name not in features:
                yield f"{count.file}: {count.name!r} names the unknown feature {name!r}"
