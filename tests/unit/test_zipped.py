"""The zips of packages that the local stack deploys."""

from pathlib import Path
from zipfile import ZipFile

from infra.local.zipped import zip_packages
from infra.package import NOTE

TEMPLATE = """\
  SyncFunction:
    Properties:
      CodeUri: SyncFunction
  SyncFunctionOfOthers:
    Properties:
      CodeUri: SyncFunctionOfOthers
"""


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        file = folder / name / "module.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_zip_holds_the_files_of_its_package_and_is_named_in_the_template(tmp_path: Path) -> None:
    build, kept = tmp_path / "build", tmp_path / "kept"
    write(kept / "sync-1", library="1", other="2")
    write(build / "SyncFunction", library="1", other="2", functions="own")
    (build / f"SyncFunction{NOTE}").write_text("sync-1")
    (build / "template.yaml").write_text(TEMPLATE)
    zip_packages(build, kept)
    made = build / "SyncFunction.zip"
    with ZipFile(made) as file:
        names = file.namelist()
        texts = {name: file.read(name).decode() for name in names}
    assert len(names) == len(texts)
    assert texts == {"library/module.py": "1", "other/module.py": "2", "functions/module.py": "own"}
    assert (build / "template.yaml").read_text() == TEMPLATE.replace("SyncFunction\n", "SyncFunction.zip\n")


def test_only_another_package_has_another_zip(tmp_path: Path) -> None:
    build, kept = tmp_path / "build", tmp_path / "kept"
    found = set()
    for own in ("1", "1", "2"):
        write(kept / "sync-1", library="1")
        write(build / "SyncFunction", library="1", functions=own)
        (build / f"SyncFunction{NOTE}").write_text("sync-1")
        (build / "template.yaml").write_text(TEMPLATE)
        zip_packages(build, kept)
        found.add((build / "SyncFunction.zip").read_bytes())
    assert len(found) == 2
    assert [path.name for path in kept.iterdir() if path.is_file()] == ["sync-1.zip"]
