"""Evaluates alarms of a template on metrics, by the rules that CloudWatch documents.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

EXTRA_POINTS = 2
"""So many periods further back CloudWatch looks if data is missing, as in the tables of its documentation."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}

type _Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass
class Metrics:
    """Values of metrics with their times, in seconds."""

    values: dict[_Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def record(self, namespace: str, name: str, dimensions: Mapping[str, str], time: float, *values: float) -> None:
        """Records values of a metric at a time."""
        key = (namespace, name, frozenset(dimensions.items()))
        self.values[key] += [(time, value) for value in values]

    def statistic(self, metric: Mapping[str, Any], statistic: str, start: float, end: float) -> float | None:
        """Returns the statistic of the values from `start` to before `end`; None if there are none."""
        dimensions = frozenset((one["Name"], one["Value"]) for one in metric["Dimensions"])
        known = self.values.get((metric["Namespace"], metric["MetricName"], dimensions), [])
        values = sorted(value for time, value in known if start <= time < end)
        if not values:
            return None
        if statistic.startswith("p"):
            return values[max(0, math.ceil(len(values) * float(statistic[1:]) / 100) - 1)]
        functions: Mapping[str, Callable[[Sequence[float]], float]] = {
            "Average": lambda some: sum(some) / len(some),
            "Maximum": max,
            "Minimum": min,
            "Sum": sum,
        }
        return float(functions[statistic](values))


def load_alarms(template: Path, parameters: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the template's alarms by their logical names, with references replaced and without those switched off."""
    content = cfn_yaml.load(str(template))
    given = {name: parameter.get("Default") for name, parameter in content["Parameters"].items()} | dict(parameters)
    names = {
        name: f"{given['StackName']}-{name}" for name in content["Resources"]
    }  # an alarm's reference is its name, which a test keeps to this form
    resolve = _Resolver({**given, **names, "AWS::NoValue": None}, content["Conditions"])
    return {
        name: {"Type": resource["Type"]} | resolve(resource["Properties"])
        for name, resource in content["Resources"].items()
        if resource["Type"].startswith("AWS::CloudWatch::") and resolve.holds(resource.get("Condition"))
    }


def raised(alarms: Mapping[str, Mapping[str, Any]], metrics: Metrics, now: float) -> set[str]:
    """Returns the names of the alarms that are raised at a time, as CloudWatch finds at the end of a minute."""
    plain = {name: alarm for name, alarm in alarms.items() if alarm["Type"] == "AWS::CloudWatch::Alarm"}
    found = {name for name, alarm in plain.items() if _is_raised(alarm, metrics, now)}
    ids = {alarms[name]["AlarmName"] for name in found}
    for name in alarms.keys() - plain.keys():
        parts = alarms[name]["AlarmRule"].split(" AND ")
        if all(re.fullmatch(r'ALARM\("(.*)"\)', part)[1] in ids for part in parts):  # type: ignore[index]
            found.add(name)
    return found


def _is_raised(alarm: Mapping[str, Any], metrics: Metrics, now: float) -> bool:
    periods = alarm["EvaluationPeriods"]
    points = [_point(alarm, metrics, now, number) for number in range(periods + EXTRA_POINTS)]
    real = [point for point in points if point is not None]
    considered: list[float | None] = [*real[:periods]]  # those further back stand in for missing ones
    considered += [None] * (periods - len(considered))
    compare, threshold = _COMPARISONS[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    is_missing_bad = {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
    bad = sum(is_missing_bad if point is None else compare(point, threshold) for point in considered)
    return bad >= int(alarm.get("DatapointsToAlarm", periods))


def _point(alarm: Mapping[str, Any], metrics: Metrics, now: float, number: int) -> float | None:
    """Returns the value of the period that ended `number` periods ago."""
    if "Metrics" not in alarm:
        end = now - number * alarm["Period"]
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return metrics.statistic(alarm, statistic, end - alarm["Period"], end)
    values: dict[str, float | None] = {}
    for query in alarm["Metrics"]:
        if "MetricStat" in query:
            stat = query["MetricStat"]
            end = now - number * stat["Period"]
            values[query["Id"]] = metrics.statistic(stat["Metric"], stat["Stat"], end - stat["Period"], end)
    (expression,) = [query["Expression"] for query in alarm["Metrics"] if "Expression" in query]
    return _calculated(expression, values)


def _calculated(expression: str, values: Mapping[str, float | None]) -> float | None:
    """Returns the value of an expression of metric math; None if a part of it is missing.

    IF and FILL are functions here as there, and the operators of arithmetic are the same in Python.
    """

    def fill(value: float | None, other: float) -> float:
        return other if value is None else value

    def choose(condition: bool, then: float, otherwise: float) -> float:
        return then if condition else otherwise

    try:
        return float(eval(expression, {"__builtins__": {}, "FILL": fill, "IF": choose}, dict(values)))  # noqa: S307
    except (TypeError, ZeroDivisionError):
        return None


class _Resolver:
    """Replaces the functions of CloudFormation that the templates of alarms use."""

    def __init__(self, names: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
        self._names = names
        self._conditions = conditions

    def __call__(self, value: Any) -> Any:
        match value:
            case {"Ref": name}:
                return self._names[name]
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{(\w+)\}", lambda found: str(self._names[found[1]]), text)
            case {"Fn::If": [condition, then, otherwise]}:
                return self(then if self.holds(condition) else otherwise)
            case {"Fn::Equals": [left, right]}:
                return self(left) == self(right)
            case {"Fn::Not": [inner]}:
                return not self(inner)
            case dict():
                return {key: self(inner) for key, inner in value.items()}
            case list():
                return [self(inner) for inner in value]
            case _:
                return value

    def holds(self, condition: str | None) -> bool:
        """Whether a condition of the template holds; no condition does."""
        return condition is None or bool(self(self._conditions[condition]))
