"""Describes errors in logs by class, code and place, without their messages.

An error of a store may quote the refused row, an error of a transformation the event. Logs must not contain such data.
"""

import functools
import re
from collections.abc import Callable, Iterator

# A SQLSTATE, an error number of ClickHouse or an AWS error code like `AWS.SimpleQueueService.NonExistentQueue`.
_CODE = re.compile(r"[0-9A-Z]{5}|[0-9]{1,4}|[A-Z][A-Za-z]+(\.[A-Za-z]+)*")

_PACKAGES_OF_STORES = frozenset({"psycopg", "clickhouse_connect"})


class RedactedError(Exception):
    """Replaces an error whose message must not be logged; names the classes of the error and its causes."""


def class_and_code(error: BaseException) -> str:
    """Returns the name of the error's class, followed by the store's error code if there is one.

    >>> class_and_code(ValueError("what a producer wrote"))
    'ValueError'
    """
    name = type(error).__name__
    response = getattr(error, "response", None)
    of_aws = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    for code in (getattr(error, "sqlstate", None), getattr(error, "code", None), of_aws):
        if code is not None and _CODE.fullmatch(str(code)):
            return f"{name} {code}"
    return name


def redacted(error: BaseException) -> Exception:
    """Returns an error with the same traceback, whose message names only the classes and codes of the causes.

    Errors of psycopg and clickhouse_connect keep their class, so that handlers still match.
    """
    kinds = " from ".join(class_and_code(one) for one in _chain(error))
    is_store_error = isinstance(error, Exception) and type(error).__module__.partition(".")[0] in _PACKAGES_OF_STORES
    kind: type[Exception] = type(error) if is_store_error else RedactedError  # type: ignore[assignment]
    return kind(kinds).with_traceback(error.__traceback__)


def redact_errors[**Parameters, Result](
    *safe: type[Exception],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function to raise redacted errors, because Lambda logs whatever a function raises.

    Args:
        safe: exception classes whose messages are safe; these errors are raised unchanged, without their causes.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def guarded(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
            try:
                return function(*arguments, **named)
            except safe as error:
                raise error from None
            except Exception as error:  # noqa: BLE001 - any error may quote event data
                raise redacted(error) from None

        return guarded

    return decorate


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
