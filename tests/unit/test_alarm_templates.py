"""Properties of the nested stacks that watch: infra/alarms.yaml, infra/objectives.yaml and infra/dashboard.yaml."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from functions.shared.metrics import NAMESPACE
from infra.docs.metrics import emitted
from tests.support.checkout import ROOT
from tests.support.cloudwatch import load_alarms
from tests.support.watched import PARAMETERS

NAMES = ("alarms", "objectives", "dashboard")
FILES = [ROOT / "infra" / f"{name}.yaml" for name in NAMES]
RUNBOOK = ROOT / "docs" / "howto" / "runbook.md"
MAX_PERIOD_SECONDS = 7 * 24 * 60 * 60
EMITTED = {(function, metric.name) for function, metric in emitted()}


def alarms(stack: str = "a-stack") -> dict[str, dict[str, Any]]:
    """Returns all alarms of a stack."""
    parameters = PARAMETERS | {"StackName": stack, "AlarmTopicArn": "a-topic"}
    loaded = [load_alarms(file, parameters) for file in FILES[:2]]
    return loaded[0] | loaded[1]


ALARMS = alarms()
NOTIFYING = {name for name, alarm in ALARMS.items() if "AlarmActions" in alarm}


def dashboard() -> str:
    """Returns the text of the dashboard, as the template has it."""
    text: str = cfn_yaml.load(str(FILES[2]))["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return text


def shown() -> list[list[str]]:
    """Returns namespace, name and dimensions of the metrics that the dashboard of a stack shows."""
    text = dashboard()
    for name, value in (PARAMETERS | {"StackName": "a-stack"}).items():
        text = text.replace(f"${{{name}}}", value)
    rows = [row for widget in json.loads(text)["widgets"] for row in widget["properties"].get("metrics", [])]
    return [[part for part in row if isinstance(part, str)] for row in rows if isinstance(row[0], str)]


def metrics(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the metrics that an alarm looks at."""
    if "MetricName" in alarm:
        yield alarm
    for query in alarm.get("Metrics", []):
        if "MetricStat" in query:
            yield query["MetricStat"]["Metric"]


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_template_is_without_fault(file: Path) -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run([linter, file], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("nested", "name"), [("Watch", "alarms"), ("Objectives", "objectives"), ("Dashboard", "dashboard")]
)
def test_the_stack_gives_a_nested_stack_its_parameters(nested: str, name: str) -> None:
    template = cfn_yaml.load(str(ROOT / "infra" / "template.yaml"))
    properties = template["Resources"][nested]["Properties"]
    content = cfn_yaml.load(str(ROOT / "infra" / f"{name}.yaml"))
    assert properties["TemplateURL"] == f"{name}.yaml"
    assert set(properties["Parameters"]) == set(content["Parameters"])
    assert template["Resources"][nested]["Condition"] == "HasAlarms"


def test_every_alarm_of_our_own_metrics_is_of_one_that_the_function_emits() -> None:
    watched = [metric for alarm in ALARMS.values() for metric in metrics(alarm) if metric["Namespace"] == NAMESPACE]
    assert len(watched) > 20
    for metric in watched:
        dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
        assert dimensions.keys() == {"stack", "service"}
        assert (dimensions["service"], metric["MetricName"]) in EMITTED


def test_two_stacks_share_no_name_and_no_metric() -> None:
    first, second = (alarms(stack) for stack in ("first", "second"))
    assert all(alarm["AlarmName"] == f"first-{name}" for name, alarm in first.items())
    for name, alarm in first.items():
        of_both = {str(metric) for one in (alarm, second[name]) for metric in metrics(one)}
        own = [metric for metric in metrics(alarm) if metric["Namespace"] in (NAMESPACE, "AWS/ApiGateway")]
        assert not own or len(of_both) > len(list(metrics(alarm)))


def test_stacks_of_one_name_in_two_regions_have_dashboards_of_their_own() -> None:
    properties = cfn_yaml.load(str(FILES[2]))["Resources"]["Dashboard"]["Properties"]
    assert properties["DashboardName"] == {"Fn::Sub": "${StackName}-${AWS::Region}"}


def test_a_run_a_day_that_ends_later_than_the_day_before_ends_no_alarm() -> None:
    watched = {name: {metric["MetricName"] for metric in metrics(alarm)} for name, alarm in ALARMS.items()}
    daily = [name for name, of in watched.items() if of & {"PartitionsKept", "FallenKeys", "ContractFailures"}]
    assert len(daily) == 2
    for name in daily:
        assert ALARMS[name]["EvaluationPeriods"] * 3600 > 24 * 3600


def test_without_clickhouse_nothing_watches_it() -> None:
    parameters = PARAMETERS | {"ClickHouse": "off"}
    left = [name for file in FILES[:2] for name in load_alarms(file, parameters)]
    assert {name for name in ALARMS if name not in left and name in NOTIFYING} == {
        "LagFastBurnAlarm",
        "LagSlowBurnAlarm",
        "SyncLagAlarm",
        "SyncOldestTransactionAlarm",
        "SyncRefusedAlarm",
    }  # not SyncScheduleAlarm: the sync also moves events, and looks at PostgreSQL for other alarms


@pytest.mark.parametrize("name", sorted(NOTIFYING))
def test_an_alarm_that_notifies_links_to_its_entry_of_the_runbook(name: str) -> None:
    alarm = ALARMS[name]
    assert (alarm["AlarmActions"], alarm["OKActions"]) == (["a-topic"], ["a-topic"])
    assert alarm["AlarmDescription"].endswith(f" docs/howto/runbook.md#{name.lower()}")
    assert f"### {name}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_entry_without_an_alarm() -> None:
    assert set(re.findall(r"^### (\w+Alarm)$", RUNBOOK.read_text(), re.MULTILINE)) == NOTIFYING


def test_an_alarm_that_notifies_is_raised_by_a_test() -> None:
    tried = (ROOT / "tests" / "functional" / "test_alarms.py").read_text()
    assert {name for name in NOTIFYING if f'"{name}"' not in tried} == set()


def test_an_alarm_that_notifies_nobody_is_a_part_of_one_that_does() -> None:
    rules = " ".join(alarm.get("AlarmRule", "") for alarm in ALARMS.values())
    for name in ALARMS.keys() - NOTIFYING:
        assert f'ALARM("{ALARMS[name]["AlarmName"]}")' in rules


def test_cloudwatch_takes_the_alarms_periods() -> None:
    for name, alarm in ALARMS.items():
        if alarm["Type"] == "AWS::CloudWatch::CompositeAlarm":
            continue
        stats = [query["MetricStat"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        (period,) = {stat["Period"] for stat in stats} or {alarm["Period"]}
        assert period % 60 == 0, name
        longest = MAX_PERIOD_SECONDS if period >= 3600 else 24 * 60 * 60
        assert period * alarm["EvaluationPeriods"] <= longest, name


def test_the_dashboard_names_parameters_that_it_has() -> None:
    assert set(re.findall(r"\$\{(\w+)\}", dashboard())) <= cfn_yaml.load(str(FILES[2]))["Parameters"].keys()


def test_the_dashboard_shows_metrics_that_functions_emit() -> None:
    own = [metric for metric in shown() if metric[0] == NAMESPACE]
    assert len(own) > 20
    for metric in own:
        assert metric[2:4] == ["stack", "a-stack"]
        assert (metric[5], metric[1]) in EMITTED


def test_the_dashboard_shows_every_metric_that_an_alarm_watches() -> None:
    on_dashboard = [metric[:2] + ["=".join(pair) for pair in batched(metric[2:], 2, strict=True)] for metric in shown()]
    watched = [
        [metric["Namespace"], metric["MetricName"], *(f"{one['Name']}={one['Value']}" for one in metric["Dimensions"])]
        for alarm in ALARMS.values()
        for metric in metrics(alarm)
    ]
    assert [metric for metric in watched if metric not in on_dashboard] == []
