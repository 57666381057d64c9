"""A definition that has a mistake at first, so that its events are rejected, and is corrected later."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import deploy
from tests.e2e import live_version

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

FILE = Path("definitions/translation.py")
EVENT = "text_translated"
EVENT_ID = 101

MENDED = f'''"""Texts that were translated."""

from typing import Any

from definitions import Context, Feature

feature = Feature("translation", owner="localisation")


@feature.events({EVENT}={EVENT_ID})
def translated(context: Context) -> dict[str, Any]:
    """Into which language, and how much."""
    return {{"language": context["target"], "characters": len(context["text"])}}
'''
FAULTY = MENDED.replace('context["target"]', 'context["target"]["language"]')  # but producers send the language itself


def write_faulty(checkout: Path) -> None:
    """Adds the faulty definition to a checkout before its deployment."""
    (checkout / FILE).write_text(FAULTY)


def mend(checkout: Path, aws_endpoint_url: str) -> None:
    """Corrects the definition, and deploys the consumer again to the stack of the checkout."""
    (checkout / FILE).write_text(MENDED)
    functions: LambdaClient = deploy.client("lambda", aws_endpoint_url)
    outputs = deploy.client("cloudformation", aws_endpoint_url).describe_stacks(StackName=deploy.STACK)
    names = {output["OutputKey"]: output["OutputValue"] for output in outputs["Stacks"][0]["Outputs"]}
    consumer = names["ConsumerFunctionName"]
    functions.update_function_code(FunctionName=consumer, ZipFile=_built_consumer(checkout))
    live_version.publish(functions, consumer)


def _built_consumer(checkout: Path) -> bytes:
    """Builds the consumer's package with the Makefile, as the local stack does."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "package"
        package.mkdir()
        command = ["make", "build-ConsumerFunction", f"ARTIFACTS_DIR={package}", "PACKAGES_FOR=host"]
        subprocess.run(command, cwd=checkout, check=True)
        return Path(shutil.make_archive(str(package), "zip", package)).read_bytes()
