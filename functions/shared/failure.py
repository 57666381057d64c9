"""What is said of an error in logs: its kind, its code and where it was raised, and nothing of what it quotes.

An error of a store may quote the row that it refuses, one of a transformation the event; logs hold no contents.
"""

import functools
import re
from collections.abc import Callable, Iterator

# A SQLSTATE, a number of ClickHouse's, a word of AWS's like `AWS.SimpleQueueService.NonExistentQueue`.
_CODE = re.compile(r"[0-9A-Z]{5}|[0-9]{1,4}|[A-Z][A-Za-z]+(\.[A-Za-z]+)*")

_PACKAGES_OF_STORES = frozenset({"psycopg", "clickhouse_connect"})


class Withheld(Exception):
    """An error that is not ours to quote; its message names its kind, and those of its causes."""


def kind_of(error: BaseException) -> str:
    """The name of the error's class, with the store's code if it has one.

    >>> kind_of(ValueError("what a producer wrote"))
    'ValueError'
    """
    name = type(error).__name__
    response = getattr(error, "response", None)
    of_aws = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    for code in (getattr(error, "sqlstate", None), getattr(error, "code", None), of_aws):
        if code is not None and _CODE.fullmatch(str(code)):
            return f"{name} {code}"
    return name


def withheld(error: BaseException) -> Exception:
    """An exception in its place that can be raised or logged: it has the traceback, but not what was said.

    It is of the same class if that is a store's, so that it is found by it.
    """
    said = " from ".join(kind_of(one) for one in _chain(error))
    is_of_a_store = isinstance(error, Exception) and type(error).__module__.partition(".")[0] in _PACKAGES_OF_STORES
    kind: type[Exception] = type(error) if is_of_a_store else Withheld  # type: ignore[assignment]
    return kind(said).with_traceback(error.__traceback__)


def without_contents[**Parameters, Result](
    *plain: type[Exception],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Makes a function raise no error that quotes contents, since Lambda logs what a function raises.

    Args:
        plain: errors whose messages are our own words; they stay, without their causes.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def guarded(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
            try:
                return function(*arguments, **named)
            except plain as error:
                raise error from None
            except Exception as error:  # noqa: BLE001 - whatever it is
                raise withheld(error) from None

        return guarded

    return decorate


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
