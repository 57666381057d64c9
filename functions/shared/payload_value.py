"""SQL expressions for the value at a path of keys in ClickHouse: each reads only the subcolumn of its path."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from clickhouse_connect.driver.binding import quote_identifier

from functions.shared.clickhouse import column_of

# Other ASCII characters are escaped, so that none can end the name or start a bind parameter. A class of all characters
# but these would do as well, but compiling it takes 5 ms.
_UNSAFE = re.compile(r"(?![A-Za-z0-9_%.])[\x00-\x7f]")

type DeclaredPaths = frozenset[tuple[str, ...]]


class PayloadValue(NamedTuple):
    """Expressions for the value at a path, one for each type; NULL for a value of another type.

    Attributes:
        signed: Int64; an integer that fits.
        unsigned: UInt64; an integer that fits, but not in `signed`.
        fraction: Float64; any other number, or an integer written as a fraction.
        string: String.
        boolean: Bool.
        json: String; JSON of a value of any type.
        present: Bool, never NULL; whether the path has a value.
    """

    signed: str
    unsigned: str
    fraction: str
    string: str
    boolean: str
    json: str
    present: str


def column_at(keys: Sequence[str], declared: DeclaredPaths) -> str | None:
    """The column of the value at a path of keys, of type Dynamic; None if no column can be named so.

    Args:
        declared: payload paths that have a column of their own.
    """
    # ClickHouse treats backticks in a name specially, and reads %2E as a dot. No stored key contains %2E.
    if not ".".join(keys) or any("`" in key or "%2E" in key for key in keys):
        return None
    return quote_identifier(column_of(keys)) if tuple(keys) in declared else f"payload.{_quoted(keys)}"


def value_at(keys: Sequence[str], declared: DeclaredPaths) -> PayloadValue | None:
    """The value at a path of keys; None if no column has it."""
    column = column_at(keys, declared)
    if column is None:
        return None
    typed = f"{column}." if tuple(keys) in declared else f"{column}.:"
    inner = f"payload.^{_quoted(keys)}"
    return PayloadValue(
        signed=f"{typed}Int64",
        unsigned=f"{typed}UInt64",
        fraction=f"{typed}Float64",
        string=f"{typed}String",
        boolean=f"{typed}Bool",
        json=f"if(notEmpty({inner}), toJSONString({inner}), toJSONString({column}))",
        present=f"(isNotNull({column}) OR notEmpty({inner}))",
    )


def integers(value: PayloadValue) -> tuple[str, str]:
    """The integer of a value as Int128: two expressions of which at most one is not NULL.

    Summing each is faster than summing both combined. Integers beyond 64 bits, signed or unsigned, are left out.
    """
    # The second expression is rarely not NULL; testing `fraction` first makes sums faster.
    signed, unsigned = (f"toInt128(accurateCastOrNull({value.fraction}, '{kind}'))" for kind in ("Int64", "UInt64"))
    rare = f"if(isNull({value.fraction}), toInt128({value.unsigned}), coalesce({signed}, {unsigned}))"
    return f"toInt128({value.signed})", rare


def number(value: PayloadValue) -> str:
    """The number of a value as Float64."""
    return f"coalesce(toFloat64({value.signed}), toFloat64({value.unsigned}), {value.fraction})"


def _quoted(keys: Sequence[str]) -> str:
    name = ".".join(key.replace(".", "%2E") for key in keys)
    return f"`{_UNSAFE.sub(lambda unsafe: f'\\x{ord(unsafe[0]):02x}', name)}`"
