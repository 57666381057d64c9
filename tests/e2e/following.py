"""Runs the documentation's commands in the checkout that the stack was started from."""

import subprocess
from functools import partial
from pathlib import Path

from tests.e2e.conftest import Stack
from tests.e2e.use import eventually
from tests.support import documentation
from tests.support.documentation import TUTORIAL, Command, masked

NAMES_OF = "3. Start the local stack"
"""The section that defines the shell function `stack`."""


def follow(stack: Stack, heading: str, program: str = "") -> None:
    """Runs the commands of a section of the tutorial until each prints what the section says.

    Args:
        program: the file in `.local` that the section tells its readers to save.
    """
    text = documentation.section(TUTORIAL, heading)
    if program:
        (code,) = documentation.blocks(text, "python")
        (stack.folder / program).write_text(code)
    for command in documentation.commands(text):
        wanted = masked(command.output).strip()
        if "/graphql" in command.text or program == "chart.py":
            eventually(partial(printed, stack, command), wanted)
        else:
            assert printed(stack, command) == wanted


def printed(stack: Stack, command: Command) -> str:
    """Returns a command's output with ids, days and the store's name masked."""
    return masked(run(stack, command)).strip()


def run(stack: Stack, command: Command) -> str:
    """Returns a command's output in the folder of the checkout, with the tutorial's shell function defined."""
    (_, names) = documentation.commands(documentation.section(TUTORIAL, NAMES_OF))
    script = f"{names.text}\n{command.text}"
    done = subprocess.run(["bash", "-c", script], cwd=checkout_of(stack), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def checkout_of(stack: Stack) -> Path:
    """Returns the checkout that the stack was started from."""
    return stack.folder.parent
