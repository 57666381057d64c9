"""One module per schema change, in the order of their numbers.

Functions of the release before run while a migration is applied, until they are replaced, and again after a rollback.
So a release only **expands** the schema: it adds tables, columns that are null or have a default, and indexes. What is
no longer used goes in a later release, which **contracts** the schema, once no release that may be deployed again uses
it.

- Never rename or retype. Add a column, write both, fill it, read the new one, and drop the old one in a later release.
- Never make a column `NOT NULL`, and add no key or check that refuses what the release before writes.
- `upgrade` runs in one transaction, waits two seconds at most for each lock and is then repeated. It must take no time:
  no row is changed and no table rewritten in it, and no index is built on a table that has rows.
- What takes long is a step (see `infra.migrations.steps`) in the module's `STEPS`: `BuildIndex`, `DropIndex`,
  `ChangeRows` or `Execute`. Steps run after `upgrade`, lock out nobody, and go on where they stopped.
- A migration that is released is never changed.

`tests/functional/test_expansion.py` refuses a migration that breaks these rules for what the last release uses;
`infra.migrations.last_release` says what that is. Migrations up to 0011 are older than the rules.
"""
