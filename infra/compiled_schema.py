"""Compiles the GraphQL schema of the definitions: `python -m infra.compiled_schema`, which the Makefile runs."""

import argparse
from pathlib import Path

from functions.graphql.compiled_schema import FILE
from functions.graphql.schema import compiled_types
from functions.shared.catalog import registry


def main() -> None:
    """Write the types of the schema into the package of the GraphQL function that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the package")
    package: Path = parser.parse_args().into
    file = package / FILE.relative_to(Path(__file__).parents[1])
    file.write_bytes(compiled_types(registry.load()))


if __name__ == "__main__":
    main()
