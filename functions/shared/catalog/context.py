"""What a transformation sees of an event."""

from typing import Any


class Context(dict[str, Any]):
    """Everything the producer sent with an event, base attributes included.

    The entries of an internal event's `additional_properties` are among the keys. However the producer wrote
    them, `user_id`, `project_id`, `namespace_id` and `namespace_path` are there when known.
    """

    def slice(self, *keys: str) -> dict[str, Any]:
        """The entries of `keys` that are there.

        >>> Context(language="ruby", line=3).slice("language", "branch_name")
        {'language': 'ruby'}
        """
        return {key: self[key] for key in keys if key in self}
