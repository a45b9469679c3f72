"""The cache of compiled kernels: another source, another folder; what did not change is taken along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import jit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "schemas/columns.py": "A = 1\n",
        "schemas/scanner.py": "from schemas import columns\n",
        "streams/steps.py": "from streams.lowest import f\n",
        "streams/lowest.py": "from schemas.columns import A\n",
        "streams/alone.py": "",
        "config/provinces.py": "",
    }.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(jit, "_PROJECT", tmp_path / "project")
    monkeypatch.setenv("PRICELINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    return tmp_path / "project"


def use_cache() -> Path:
    jit._use_cache()
    return Path(os.environ["NUMBA_CACHE_DIR"])


def compiled(folder: Path, *modules: str) -> None:
    for module in modules:
        package, stem = module.split(".")
        place = folder / f"{package}_0123" / f"{stem}.f-1.py311.nbi"
        place.parent.mkdir(exist_ok=True)
        place.write_text(module)


def kept(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.glob("*/*.nbi")}


ALL = ("schemas.columns", "schemas.scanner", "streams.steps", "streams.lowest", "streams.alone")


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ("schemas/scanner.py", {"schemas.columns", "streams.steps", "streams.lowest", "streams.alone"}),
        ("streams/lowest.py", {"schemas.columns", "schemas.scanner", "streams.alone"}),
        ("schemas/columns.py", {"streams.alone"}),
        ("config/provinces.py", set(ALL)),
    ],
)
def test_a_change_forgets_what_depends_on_it_and_nothing_else(project: Path, changed: str, left: set[str]) -> None:
    first = use_cache()
    compiled(first, *ALL)
    with (project / changed).open("a") as file:
        file.write("B = 2\n")
    second = use_cache()
    assert second != first
    assert kept(second) == left


def test_the_same_source_has_the_same_folder(project: Path) -> None:
    first = use_cache()
    compiled(first, "streams.alone")
    jit.mark_warm()
    assert use_cache() == first
    assert jit.is_warm()
    (project / "streams/alone.py").write_text("C = 3\n")
    use_cache()
    assert not jit.is_warm()


def test_a_folder_of_the_users_choice_is_left_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.exists()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert use_cache() == tmp_path / "mine"


def test_where_nothing_can_be_written_kernels_are_compiled_all_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.exists()
    (tmp_path / "cache").write_text("a file in the way")
    folder = use_cache()
    assert folder.is_dir()
    monkeypatch.undo()


def test_old_folders_are_dropped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_IDLE_S", 10.0)
    folders = []
    for number in range(6):
        (project / "streams/alone.py").write_text(f"D = {number}\n")
        folders.append(use_cache())
        os.utime(folders[-1], (1e9 + 100 * number, 1e9 + 100 * number))
    assert [folder.exists() for folder in folders] == [False, False, False, True, True, True]


def test_importing_the_kernels_package_sets_the_cache() -> None:
    program = "import streams, os; print(os.environ['NUMBA_CACHE_DIR'])"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert Path(done.stdout.strip()).is_dir()
