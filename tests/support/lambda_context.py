"""The context that Lambda passes to a function."""

from aws_lambda_powertools.utilities.typing import LambdaContext


class FakeContext(LambdaContext):
    """A context with two minutes left."""

    _invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:function"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 120_000
