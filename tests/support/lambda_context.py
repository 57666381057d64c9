"""The context that Lambda passes to a function."""

from aws_lambda_powertools.utilities.typing import LambdaContext


class FakeContext(LambdaContext):
    """A context with two minutes left."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 120_000
