"""`python -m infra.docs`: writes the generated parts of `docs/`, or checks that they are current."""

from typing import Annotated

import typer

from infra.docs.pages import DOCS, stale_pages, write_pages


def main(
    *, check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a page is stale.")] = False
) -> None:
    """Write the generated parts of docs/ from the code."""
    pages = stale_pages(DOCS) if check else write_pages(DOCS)
    for page in pages:
        typer.echo(
            f"{page.relative_to(DOCS.parent)} {'is stale: make reference writes it' if check else 'was written'}."
        )
    if check and pages:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
