"""Describes errors in logs by class, code and place, without their messages.

An error of a store may quote the refused row, an error of a transformation the event. Logs must not contain such data.
"""

import functools
import re
from collections.abc import Callable, Iterator

# A SQLSTATE, an error number of ClickHouse or an AWS error code like `AWS.SimpleQueueService.NonExistentQueue`.
_CODE = re.compile(r"[0-9A-Z]{5}|[0-9]{1,4}|[A-Z][A-Za-z]+(\.[A-Za-z]+)*")

_PACKAGES_OF_STORES = frozenset({"psycopg", "clickhouse_connect"})


class Withheld(Exception):
    """Replaces an error whose message must not be logged; names the classes of the error and its causes."""


def kind_of(error: BaseException) -> str:
    """Returns the name of the error's class, followed by the store's error code if there is one.

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
    """Returns a replacement that has the error's traceback but not its message.

    Errors of psycopg and clickhouse_connect keep their class, so that handlers still match.
    """
    kinds = " from ".join(kind_of(one) for one in _chain(error))
    is_of_a_store = isinstance(error, Exception) and type(error).__module__.partition(".")[0] in _PACKAGES_OF_STORES
    kind: type[Exception] = type(error) if is_of_a_store else Withheld  # type: ignore[assignment]
    return kind(kinds).with_traceback(error.__traceback__)


def without_contents[**Parameters, Result](
    *plain: type[Exception],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function so that its errors quote no event data: Lambda logs whatever it raises.

    Args:
        plain: exception classes whose messages are safe; these errors are raised unchanged, without their causes.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def guarded(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
            try:
                return function(*arguments, **named)
            except plain as error:
                raise error from None
            except Exception as error:  # noqa: BLE001 - any error may quote event data
                raise withheld(error) from None

        return guarded

    return decorate


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
