"""Sends steady traffic to a system, and measures what becomes of it."""

from infra.operations.load.figures import Figures
from infra.operations.load.load import Load, LoadError

__all__ = ["Figures", "Load", "LoadError"]
