"""Spans of what a function does, as subsegments of AWS X-Ray.

The switch is the variable `TRACING`. While it is off, nothing is imported and a span does nothing. Lambda itself traces
invocations, and hands a trace on through the queue, see `Tracing` in infra/template.yaml.
"""

import os
from contextlib import AbstractContextManager, nullcontext

_NO_SPAN = nullcontext()


def span(name: str) -> AbstractContextManager[None]:
    """Returns a context whose time is a span of the present trace, if tracing is on."""
    if os.environ.get("TRACING") != "on":
        return _NO_SPAN
    from functions.shared import xray

    return xray.subsegment(name)
