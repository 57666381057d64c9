"""The templates as CloudFormation gets them, and a stand-in for how it decides on their rules."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from infra.local import deploy, tools
from infra.stack_file import REGION
from tests.support.checkout import ROOT

BUCKET = "packages"
PACKAGE = "function"
"""Where the functions' packages are for the transformed template."""

_TRANSFORM = f"""
import json, sys
parameters = dict(one.split("=", 1) for one in sys.argv[2:])
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class Policies:
    def load(self):
        return {{}}

template = yaml_parse(open(sys.argv[1]).read())
template["Globals"]["Function"]["CodeUri"] = "s3://{BUCKET}/{PACKAGE}"
print(json.dumps(transform(template, parameters, Policies())))
"""


@cache
def transformed(*parameters: str) -> Any:
    """Returns infra/template.yaml as SAM's transformation makes it, by the translator of sam's own environment.

    Args:
        parameters: `Name=value` of each parameter that is not its default; the transformation knows them, as on AWS.
    """
    run = (tools.uvx(), "--quiet", "--python", tools.base_python(), "--from", deploy.SAM)
    command: list[str | Path] = [*run, "python", "-c", _TRANSFORM, ROOT / "infra" / "template.yaml", *parameters]
    environment = os.environ | {"AWS_DEFAULT_REGION": REGION, "VIRTUAL_ENV": "", "PYTHONPATH": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refusals(template: Any, parameters: dict[str, str]) -> list[str]:
    """Returns what CloudFormation would say of the parameters, from the template's rules.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html
    """
    defaults = {name: str(known.get("Default", "")) for name, known in template["Parameters"].items()}
    values: dict[str, Any] = defaults | parameters
    for name, known in template["Parameters"].items():
        if known["Type"] == "CommaDelimitedList":
            values[name] = values[name].split(",")
    return [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if _evaluated(rule.get("RuleCondition", True), values)
        for assertion in rule["Assertions"]
        if not _evaluated(assertion["Assert"], values)
    ]


def _evaluated(expression: Any, values: dict[str, Any]) -> Any:
    match expression:
        case {"Ref": name}:
            return values[name]
        case {"Fn::Not": [inner]}:
            return not _evaluated(inner, values)
        case {"Fn::And": inner}:
            return all(_evaluated(one, values) for one in inner)
        case {"Fn::Or": inner}:
            return any(_evaluated(one, values) for one in inner)
        case {"Fn::Equals": [left, right]}:
            return _evaluated(left, values) == _evaluated(right, values)
        case {"Fn::Contains": [texts, text]}:
            return _evaluated(text, values) in texts
        case {"Fn::EachMemberEquals": [texts, text]}:
            return all(one == text for one in _evaluated(texts, values))
        case dict():
            raise AssertionError(f"a rule may not use {expression}")
    return expression
