"""Tables from `infra/template.yaml`: parameters, environment variables of the functions, and alarms."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from infra.docs.markdown import code, codes, table

TEMPLATE = Path(__file__).parents[1] / "template.yaml"

_COMPARISONS = {"GreaterThanThreshold": ">"}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's tags (`!Ref`, `!If`, …) as mappings of the tag to its value."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    raise TypeError(f"{TEMPLATE.name} has a mapping with the tag !{suffix}")


_Loader.add_multi_constructor("!", _tagged)


def template() -> dict[str, Any]:
    """Returns the template as plain data."""
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a SafeLoader that knows tags
    return loaded


def parameters() -> str:
    """Returns a table of the parameters of a deployment."""
    rows = []
    for name, parameter in template()["Parameters"].items():
        default = str(parameter["Default"]) if "Default" in parameter else "must be given"
        shown = code(default) if "Default" in parameter else default
        rows.append([code(name), shown or "empty", f"{parameter.get('Description', '')}{_range(parameter)}".strip()])
    return table(["parameter", "default", "what it is"], rows)


def environment() -> str:
    """Returns a table of the environment variables, the functions that have them, and the parameters that set them."""
    functions: dict[str, list[str]] = defaultdict(list)
    values: dict[str, Any] = {}
    resources = template()
    shared = resources["Globals"]["Function"]["Environment"]["Variables"]
    for name, resource in resources["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        for variable, value in (shared | resource["Properties"]["Environment"]["Variables"]).items():
            functions[variable].append(name.removesuffix("Function").lower())
            values[variable] = value
    rows = [
        [
            code(variable),
            ", ".join(sorted(names)),
            ", ".join(sorted({code(one) for one in _references(values[variable])})),
        ]
        for variable, names in sorted(functions.items())
        if variable != "POWERTOOLS_SERVICE_NAME"
    ]
    return table(["variable", "functions", "set by the parameter or resource"], rows)


def alarms() -> str:
    """Returns a table of the alarms: subject and threshold."""
    rows = [[code(name), properties["AlarmDescription"], _condition(properties)] for name, properties in _alarms()]
    return table(["alarm", "meaning", "raised if"], rows)


def _alarms() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in template()["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            yield name, resource["Properties"]


def _condition(alarm: dict[str, Any]) -> str:
    comparison = _COMPARISONS[alarm["ComparisonOperator"]]
    metric = f"{code(alarm['MetricName'])} of {code(alarm['Namespace'])}"
    periods = alarm["EvaluationPeriods"]
    times = f"{periods} periods of {alarm['Period']} s in a row" if periods > 1 else f"a period of {alarm['Period']} s"
    return f"the {alarm['Statistic'].lower()} of {metric} is {comparison} {alarm['Threshold']} in {times}"


def _range(parameter: dict[str, Any]) -> str:
    if "AllowedValues" in parameter:
        return f" One of {codes(map(str, parameter['AllowedValues']))}."
    low, high = parameter.get("MinValue"), parameter.get("MaxValue")
    if low is None:
        return ""
    return f" From {low:,}." if high is None else f" From {low:,} to {high:,}."


def _references(value: Any) -> Iterator[str]:
    """Yields the names in `!Ref`s within a value, except CloudFormation's own."""
    if isinstance(value, dict):
        for tag, inner in value.items():
            if tag == "Ref" and not inner.startswith("AWS::"):
                yield inner
            elif tag != "Ref":
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
