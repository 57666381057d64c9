"""Metrics of the contract watch."""

from collections.abc import Sequence

from functions.retention.contract.verdict import Comparison
from functions.shared.metrics import Metric, emit

FALLEN_KEYS = Metric(
    "FallenKeys",
    "Count",
    "Payload keys that a smaller share of events carried yesterday than on any of the seven days before, and events "
    "that stopped. A line of the log names each.",
)
CONTRACT_FAILURES = Metric("ContractFailures", "Count", "Whether yesterday could not be compared: 1 or 0 each day.")


def count(fallen: Sequence[Comparison] | None, invocation: str | None) -> None:
    """Writes the metrics of a day; None if it could not be compared."""
    values: dict[Metric, float] = {CONTRACT_FAILURES: int(fallen is None)}
    if fallen is not None:
        values[FALLEN_KEYS] = len(fallen)
    emit(values, invocation=invocation)
