"""Roles, secrets and passwords that a test rotates."""

import json
from dataclasses import dataclass
from itertools import count
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg
from psycopg import sql

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"

_numbers = count(1)


@dataclass
class RotatedLogin:
    """A role of PostgreSQL whose password is rotated as RDS does: the secret holds user name and password alone.

    Attributes:
        administration: connection of a superuser to the test's database.
        arn: the secret.
    """

    administration: psycopg.Connection
    role: str
    arn: str

    @classmethod
    def made(cls, administration: psycopg.Connection) -> "RotatedLogin":
        """Makes a role that may do everything in the test's database, and its secret."""
        role, password = f"rotated_{next(_numbers)}", token_urlsafe()
        statement = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        administration.execute(statement.format(sql.Identifier(role), sql.Literal(password)))
        text = json.dumps({"username": role, "password": password})
        arn = boto3.client("secretsmanager").create_secret(Name=role, SecretString=text)["ARN"]
        return cls(administration, role, arn)

    def environment(self, database_url: str) -> dict[str, str]:
        """Returns the settings of a function that logs in with the secret."""
        parts = urlsplit(database_url)
        return {
            "DATABASE_SECRET_ARN": self.arn,
            "DATABASE_HOST": str(parts.hostname),
            "DATABASE_PORT": str(parts.port),
            "DATABASE_NAME": parts.path.removeprefix("/"),
        }

    def change_password(self) -> str:
        """Gives the role a new password, ends its sessions, and returns the new secret, which the caller stores."""
        password = token_urlsafe()
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(self.role), sql.Literal(password))
        self.administration.execute(statement)
        self.administration.execute(END_SESSIONS, [self.role])
        return json.dumps({"username": self.role, "password": password})

    def store(self, text: str) -> None:
        """Stores the text as the secret's current version."""
        manager: Any = boto3.client("secretsmanager")
        manager.put_secret_value(SecretId=self.arn, SecretString=text)
