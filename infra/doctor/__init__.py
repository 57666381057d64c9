"""Examines a system: its settings, network, servers and roles, and says what to do about what is wrong."""

from infra.doctor.examination import examine
from infra.doctor.finding import Finding, Outcome

__all__ = ["Finding", "Outcome", "examine"]
