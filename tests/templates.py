"""`python -m tests.templates`: checks the templates with cfn-lint, sam and checkov.

sam and checkov run in environments of their own, because each of them holds back packages that the project needs newer.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local import deploy, tools
from infra.stack_file import REGION

CHECKOV = "checkov==3.3.30"
FOLDER = tools.ROOT / "infra"
TEMPLATES = tuple(FOLDER / f"{name}.yaml" for name in ("template", "network", "database", "account"))
MAIN = TEMPLATES[0]


def commands() -> list[Sequence[str | Path]]:
    """Return the programs to run, each with its arguments."""
    run = (tools.uvx(), "--quiet", "--python", tools.base_python(), "--from")
    files = [part for template in TEMPLATES for part in ("--file", template)]
    return [
        (Path(sys.executable).with_name("cfn-lint"), *TEMPLATES),
        (*run, deploy.SAM, "sam", "validate", "--lint", "--template", MAIN, "--region", REGION),
        (*run, CHECKOV, "checkov", "--config-file", FOLDER / "checkov.yaml", *files),
    ]


def main() -> int:
    """Run the programs, print what those say that fail, and return the exit code."""
    quiet = {"SAM_CLI_TELEMETRY": "0", "VIRTUAL_ENV": "", "PYTHONPATH": "", "LOG_LEVEL": "ERROR"}
    failed = 0
    for command in commands():
        result = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
        if result.returncode:
            print(result.stdout + result.stderr, file=sys.stderr)
        failed |= result.returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
