"""The media types of requests and answers, as GraphQL over HTTP negotiates them.

https://graphql.github.io/graphql-over-http/draft/
"""

from enum import Enum

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})


class Mistake(Enum):
    """What is wrong with a request that is not executed."""

    REQUEST = "the body, or one of its parameters"
    QUERY = "the query's text, its size, or its variables"


class AnswerType(Enum):
    """The media type of an answer, and its statuses.

    Clients that ask for `application/json` by name look into the body only; a status other than 200 hides the errors
    from them. Whoever asks for nothing gets JSON too, and sees a malformed request by its status.
    """

    GRAPHQL = f"{GRAPHQL_RESPONSE}; charset=utf-8"
    LEGACY = JSON
    ANY = f"{JSON} "

    @property
    def content_type(self) -> str:
        """The header `Content-Type` of the answer."""
        return self.value.strip()

    def status(self, mistake: Mistake) -> int:
        """The status of the answer to a request that is not executed."""
        refused = {AnswerType.GRAPHQL: Mistake, AnswerType.LEGACY: (), AnswerType.ANY: (Mistake.REQUEST,)}[self]
        return 400 if mistake in refused else 200


def answer_type(accept: str | None) -> AnswerType:
    """The answer's type by the header `Accept`, whose types may have qualities (`;q=0.9`).

    Where the header names nothing that could be answered, it is disregarded.
    """
    offered = sorted(_qualities(accept or "*/*"), key=lambda one: -one[1])  # keeps the order of equal qualities
    known = {GRAPHQL_RESPONSE: AnswerType.GRAPHQL, JSON: AnswerType.LEGACY}
    return next(
        (known.get(name, AnswerType.ANY) for name, _ in offered if name in known or "*" in name), AnswerType.ANY
    )


def is_json(content_type: str | None) -> bool:
    """Whether the header `Content-Type` says that the body is JSON in UTF-8."""
    name, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    charsets = [value.strip("\"' ") for key, _, value in (one.partition("=") for one in parameters) if key == "charset"]
    return name == JSON and _UTF_8.issuperset(charsets)


def _qualities(accept: str) -> list[tuple[str, float]]:
    """The media types of the header that are acceptable at all, in order, each with its quality."""
    found = []
    for part in accept.split(","):
        name, *parameters = (one.strip().lower() for one in part.split(";"))
        quality = next((value for key, _, value in (one.partition("=") for one in parameters) if key == "q"), "1")
        try:
            found.append((name, float(quality)))
        except ValueError:
            found.append((name, 0.0))
    return [(name, quality) for name, quality in found if quality > 0]
