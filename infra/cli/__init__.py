"""`usage-events`: what a team or an operator does from the command line."""

from infra.cli.main import app

__all__ = ["app"]
