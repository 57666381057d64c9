"""Ids of event types that GitLab uses and whose events have no definition here."""

from definitions import reserve_ids

reserve_ids(*range(39, 46), reason="GitLab uses it")
