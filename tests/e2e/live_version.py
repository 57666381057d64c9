"""The version of a function that the stack calls."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ALIAS = "live"


def publish(functions: "LambdaClient", name: str) -> None:
    """Publishes the function as it is now, so that its alias calls it. Does nothing if the function has no alias."""
    functions.get_waiter("function_updated_v2").wait(FunctionName=name)
    if functions.list_aliases(FunctionName=name)["Aliases"]:
        version = functions.publish_version(FunctionName=name)["Version"]
        functions.update_alias(FunctionName=name, Name=ALIAS, FunctionVersion=version)
