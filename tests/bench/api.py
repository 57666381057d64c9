"""The GraphQL function, called as API Gateway calls it."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

from functions.graphql.handler import build
from functions.shared.gc_tuning import gc_frozen
from functions.shared.grant import EVERYTHING, READ
from functions.shared.settings import AuthSettings
from infra.operations.token import sign
from tests.bench.measure import Work

SECRET = "a secret of thirty-two characters, at least"

type Variables = dict[str, Any]


class Api:
    """The GraphQL function, reading from the stores it is given."""

    def __init__(self, database_url: str, clickhouse_url: str = "") -> None:
        with gc_frozen():  # as `functions.graphql.api`
            self._handler = build(
                auth=AuthSettings(secret=SECRET),
                database_url=database_url,
                clickhouse_url=clickhouse_url or None,
                log_level="WARNING",
            )
        self._source = "clickhouse" if clickhouse_url else "postgresql"
        token = sign(SECRET, "1", [READ], [EVERYTHING], timedelta(hours=1))
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def request(self, query: str, variables: Variables) -> Work:
        """Returns a request as API Gateway passes it to the function."""
        body = json.dumps({"query": query, "variables": variables})
        event = {"httpMethod": "POST", "headers": self.headers, "body": body, "isBase64Encoded": False}
        return partial(self._handler, event, None)

    def ask(self, query: str, variables: Variables) -> Any:
        """Returns the answer's data.

        Raises:
            RuntimeError: the answer has no data, or the data came from the other store.
        """
        response: Any = self.request(query, variables)()
        answer = json.loads(response["body"])
        if response["statusCode"] != 200 or "errors" in answer or answer["extensions"]["source"] != self._source:
            raise RuntimeError(f"Not the answer that was expected: {response}")
        return answer["data"]

    def close(self) -> None:
        """Closes the connection to PostgreSQL."""
        self._handler.database.close()
