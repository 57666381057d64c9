"""The evaluation of alarms in `tests.support.cloudwatch`, against the tables of CloudWatch's documentation."""

from typing import Any

import pytest

from tests.support.cloudwatch import Metrics, raised

METRIC = {"Namespace": "n", "MetricName": "m", "Dimensions": [{"Name": "a", "Value": "b"}]}
ALARM: dict[str, Any] = METRIC | {
    "Type": "AWS::CloudWatch::Alarm",
    "AlarmName": "alarm",
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}


def metrics(points: str) -> Metrics:
    """Returns metrics of one point a minute, oldest first: X breaches, 0 does not, - is missing."""
    made = Metrics()
    for minute, point in enumerate(points):
        if point != "-":
            made.record("n", "m", {"a": "b"}, minute * 60, 2 if point == "X" else 0)
    return made


@pytest.mark.parametrize(
    ("points", "breaching", "not_breaching"),
    [
        ("0-X-X", False, False),
        ("0----", False, False),
        ("-----", True, False),
        ("0XX-X", True, True),
        ("--X--", True, False),
    ],
)
def test_missing_points_count_as_the_documentation_says(points: str, breaching: bool, not_breaching: bool) -> None:
    for treated, expected in (("breaching", breaching), ("notBreaching", not_breaching)):
        assert bool(raised({"a": ALARM | {"TreatMissingData": treated}}, metrics(points), 300)) is expected


@pytest.mark.parametrize(
    ("points", "expected"), [("-X--X", True), ("0X0X0", False), ("00XX0", True), ("XX000", False), ("----X", False)]
)
def test_an_alarm_may_need_some_of_its_points(points: str, expected: bool) -> None:
    alarm = ALARM | {"TreatMissingData": "notBreaching", "DatapointsToAlarm": 2}
    assert bool(raised({"a": alarm}, metrics(points), 300)) is expected


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("a / b", {"a": 1, "b": 4}, False),
        ("a / b", {"a": 3, "b": 1}, True),
        ("a / b", {"a": 3, "b": 0}, False),
        ("a / b", {"a": 3}, False),
        ("FILL(a, 0) + b", {"b": 2}, True),
        ("IF(b >= 5, a, 0)", {"a": 2, "b": 4}, False),
        ("IF(b >= 5, a, 0)", {"a": 2, "b": 5}, True),
    ],
)
def test_an_alarm_of_an_expression(expression: str, values: dict[str, float], expected: bool) -> None:
    made = Metrics()
    for name, value in values.items():
        made.record("n", name, {}, 0, value)
    queries = [
        {
            "Id": name,
            "MetricStat": {"Metric": METRIC | {"MetricName": name, "Dimensions": []}, "Period": 60, "Stat": "Sum"},
        }
        for name in "ab"
    ]
    alarm = {
        "Type": "AWS::CloudWatch::Alarm",
        "AlarmName": "alarm",
        "Metrics": [{"Id": "result", "Expression": expression}, *queries],
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    assert bool(raised({"a": alarm}, made, 60)) is expected


def test_a_percentile_and_a_composite_alarm() -> None:
    made = Metrics()
    made.record("n", "m", {"a": "b"}, 0, *[0.0] * 90, *[2.0] * 10)
    plain = {key: value for key, value in ALARM.items() if key != "Statistic"}
    plain |= {"EvaluationPeriods": 1, "TreatMissingData": "notBreaching"}
    alarms = {
        "high": plain | {"AlarmName": "s-high", "ExtendedStatistic": "p95"},
        "low": plain | {"AlarmName": "s-low", "ExtendedStatistic": "p50"},
        "both": {"Type": "AWS::CloudWatch::CompositeAlarm", "AlarmRule": 'ALARM("s-high") AND ALARM("s-low")'},
        "one": {"Type": "AWS::CloudWatch::CompositeAlarm", "AlarmRule": 'ALARM("s-high")'},
    }
    assert raised(alarms, made, 60) == {"high", "one"}
