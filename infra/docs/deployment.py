"""Tables from `infra/template.yaml` and its nested stacks: parameters, environment variables, and alarms."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from infra.docs.markdown import code, codes, table

TEMPLATE = Path(__file__).parents[1] / "template.yaml"

_COMPARISONS = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": "≥", "LessThanThreshold": "<"}


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
    return _load(TEMPLATE)


def _load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(file.read_text(), _Loader)  # noqa: S506 - a SafeLoader that knows tags
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
    set_by: dict[str, set[str]] = defaultdict(set)
    resources = template()
    shared = resources["Globals"]["Function"]["Environment"]["Variables"]
    for name, resource in resources["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        for variable, value in (shared | resource["Properties"]["Environment"]["Variables"]).items():
            functions[variable].append(name.removesuffix("Function").lower())
            set_by[variable] |= {code(one) for one in _references(value)}
    rows = [
        [
            code(variable),
            ", ".join(sorted(names)),
            ", ".join(sorted(set_by[variable])),
        ]
        for variable, names in sorted(functions.items())
        if variable != "POWERTOOLS_SERVICE_NAME"
    ]
    return table(["variable", "functions", "set by the parameter or resource"], rows)


def alarms() -> str:
    """Returns a table of the alarms: meaning, and when they are raised."""
    loaded = _load(TEMPLATE.with_name("alarms.yaml"))["Resources"]
    rows = [
        [_link(name), _meaning(alarm["Properties"]), _condition(alarm["Properties"])] for name, alarm in loaded.items()
    ]
    return table(["alarm", "meaning", "raised if"], rows)


def objectives() -> str:
    """Returns a table of the alarms of objectives: which objective, and when they are raised."""
    loaded = _load(TEMPLATE.with_name("objectives.yaml"))["Resources"]
    rows = []
    for name, alarm in loaded.items():
        if alarm["Type"] != "AWS::CloudWatch::CompositeAlarm":
            continue
        parts = re.findall(r"\w+", alarm["Properties"]["AlarmRule"]["Sub"].replace("ALARM", "").replace("AND", ""))
        limits = {part: loaded[part]["Properties"] for part in parts}
        share = {properties["Threshold"] for properties in limits.values()}
        periods = " and ".join(f"{_period(properties):,} s" for properties in limits.values())
        rows.append([_link(name), _meaning(alarm["Properties"]), f"over {share.pop():.2%} failed in {periods}"])
    return table(["alarm", "meaning", "raised if"], rows)


def _link(name: str) -> str:
    return f"[{code(name)}](../howto/runbook.md#{name.lower()})"


def _meaning(properties: dict[str, Any]) -> str:
    """Returns an alarm's description without its link."""
    text: str = properties["AlarmDescription"]["Sub"]
    return text.rpartition("${RunbookUrl}")[0].strip()


def _condition(alarm: dict[str, Any]) -> str:
    comparison = _COMPARISONS[alarm["ComparisonOperator"]]
    if "Metrics" in alarm:
        result, *queries = alarm["Metrics"]
        names = "; ".join(f"`{query['Id']}`: {_metric(query['MetricStat']['Metric'])}" for query in queries)
        expression = result["Expression"]
        what = f"{code(expression if isinstance(expression, str) else expression['Sub'])} ({names})"
    else:
        statistic: str = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        what = f"the {statistic.lower()} of {_metric(alarm)}"
    periods, some = alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm")
    times = f"{periods} periods of {_period(alarm)} s in a row" if periods > 1 else f"a period of {_period(alarm)} s"
    if some:
        times = f"{some} of {periods} periods of {_period(alarm)} s"
    return f"{what} is {comparison} {alarm['Threshold']} in {times}"


def _metric(metric: dict[str, Any]) -> str:
    return f"{code(metric['MetricName'])} of {code(metric['Namespace'])}"


def _period(alarm: dict[str, Any]) -> int:
    seconds: int = alarm["Period"] if "Period" in alarm else alarm["Metrics"][1]["MetricStat"]["Period"]
    return seconds


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
