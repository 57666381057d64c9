"""`usage-events`: commands for teams and operators."""

from infra.cli.main import app

__all__ = ["app"]
