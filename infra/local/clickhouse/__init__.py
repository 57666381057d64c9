"""ClickHouse's engine (chDB) behind ClickHouse's HTTP interface, so that clients need not know the difference.

Run as `python -m infra.local.clickhouse`: the engine lives once in a process.
"""
