"""ClickHouse's engine (chDB) behind ClickHouse's HTTP interface, for ordinary ClickHouse clients.

Run it as `python -m infra.local.clickhouse`: a process can hold only one engine.
"""
