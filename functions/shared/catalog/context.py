"""`Context`: the argument of a transformation."""

from typing import Any


class Context(dict[str, Any]):
    """Everything the producer sent with an event, base attributes included.

    An internal event's `additional_properties` are merged into the keys. The keys `user_id`, `project_id`,
    `namespace_id` and `namespace_path` are present when known, in whichever form the producer sent them.
    """

    def slice(self, *keys: str) -> dict[str, Any]:
        """The entries of `keys` that the context has.

        >>> Context(language="ruby", line=3).slice("language", "branch_name")
        {'language': 'ruby'}
        """
        return {key: self[key] for key in keys if key in self}
