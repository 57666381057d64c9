"""`python -m tests.platforms`: checks that every package has a wheel for each supported machine.

Nothing is installed: uv only resolves, with the hashes of the locks, as if it ran on each of these machines.
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from infra.local import aws, deploy, tools
from tests import templates
from tests.integration import localstack

PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
# All others must come as wheels, since a developer's machine may lack a compiler. These are plain Python.
SOURCE_ONLY = ("airspeed-ext", "crontab", "jsonpath-rw", "localstack-client")
RESOLVE = ("pip", "install", "--dry-run", "--python", sys.executable, "--only-binary", ":all:")
AT_ONCE = 4


class Installation(NamedTuple):
    """Packages that are installed together, as arguments of `uv pip install`."""

    name: str
    arguments: tuple[str, ...]


def installations() -> list[Installation]:
    """Return the lock files, and the tools that run in environments of their own."""
    locks = sorted((tools.ROOT / "requirements").glob("*.txt"))
    return [
        Installation(
            "requirements/", ("--require-hashes", *(part for lock in locks for part in ("--requirements", str(lock))))
        ),
        Installation(aws.MINISTACK, (aws.MINISTACK,)),
        Installation(deploy.SAM, (deploy.SAM,)),
        Installation(templates.CHECKOV, (templates.CHECKOV,)),
        Installation(localstack.LOCALSTACK, (localstack.LOCALSTACK, "--exclude-newer", localstack.RELEASED)),
    ]


def reason_against(installation: Installation, platform: str) -> str | None:
    """Return why the packages can't be installed on a machine of the platform; None if they can."""
    with tempfile.TemporaryDirectory() as folder:
        target = ("--python-platform", platform, "--target", str(Path(folder) / "nothing"))
        from_source = [part for name in SOURCE_ONLY for part in ("--no-binary", name)]
        command = [tools.uv(), *RESOLVE, *from_source, *target, *installation.arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode else None


def main() -> int:
    """Print the packages that can't be installed on a platform, and return the exit code."""
    start = time.monotonic()
    pairs = [(installation, platform) for installation in installations() for platform in PLATFORMS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = list(pool.map(lambda pair: reason_against(*pair), pairs))
    failed = [(pair, reason) for pair, reason in zip(pairs, reasons, strict=True) if reason is not None]
    for (installation, platform), reason in failed:
        print(f"{installation.name} can't be installed on {platform}:\n{reason}", file=sys.stderr)
    if not failed:
        print(f"All packages can be had on {', '.join(PLATFORMS)} (resolved in {time.monotonic() - start:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
