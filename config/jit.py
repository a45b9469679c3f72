"""Where numba keeps compiled kernels between runs. Import this before the first kernel.

numba's own cache looks only at the file a kernel is in: a kernel whose callee changed in another file would be loaded
as it was. So the cache's folder is named after a hash of every source file that kernels are made of, and of numba
itself. Another version of the source has a folder of its own, which starts with what older folders have of modules that
did not change, nor anything that they import. Old folders are dropped.
"""

import ast
import atexit
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).resolve().parent.parent
_KERNEL_PACKAGES: Final = ("schemas", "streams", "agents")
_SOURCES: Final = ("schemas/**/*.py", "streams/**/*.py", "config/**/*.py", "agents/*_kernels.py")
"""Files whose constants and functions become part of kernels."""
_MODULES: Final = "modules.json"
_MARK: Final = "warm"
_FOLDERS_KEPT: Final = 3
_IDLE_S: Final = 3600.0
"""A folder used within the last hour is never dropped: a process may be compiling into it."""


def source_hash() -> str:
    """Returns 16 hex digits that change with any source file of the kernels, with numba, Python and the processor."""
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(path.relative_to(_PROJECT).as_posix().encode())
        digest.update(path.read_bytes())
    for part in (importlib.metadata.version("numba"), platform.python_version(), platform.machine()):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _source_files() -> list[Path]:
    return [path for pattern in _SOURCES for path in sorted(_PROJECT.glob(pattern))]


def module_hashes() -> dict[str, str]:
    """Returns a hash of each module with kernels, by ``package.stem``, over all of our modules that it depends on."""
    texts = {f"{path.parent.name}.{path.stem}": path.read_bytes() for path in _source_files()}
    imported = {name: _imports(text) & texts.keys() for name, text in texts.items()}
    about = f"{importlib.metadata.version('numba')} {platform.python_version()} {platform.machine()}".encode()
    hashes = {}
    for name in texts:
        if name.split(".")[0] in _KERNEL_PACKAGES:
            reached, left = {name}, [name]
            while left:
                new = imported[left.pop()] - reached
                reached |= new
                left += new
            digest = hashlib.sha256(about)
            for each in sorted(reached):
                digest.update(each.encode() + texts[each])
            hashes[name] = digest.hexdigest()
    return hashes


def _imports(text: bytes) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _create(folder: Path) -> None:
    """Makes a folder, whole or not at all, with what the others have of modules that are the same there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
    _seed(new)
    try:
        new.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(new, ignore_errors=True)


def _seed(folder: Path) -> None:
    hashes = module_hashes()
    for other in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            theirs = json.loads((other / _MODULES).read_bytes())
        except (OSError, ValueError):
            continue
        for file in other.glob("*/*.nb[ic]"):
            module = f"{file.parent.name.split('_')[0]}.{file.name.split('.')[0]}"
            target = folder / file.parent.name / file.name
            if hashes.get(module, "") == theirs.get(module) and not target.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy2(file, target)
    (folder / _MODULES).write_text(json.dumps(hashes))


def cache_root() -> Path:
    """Returns the folder of all caches: ``PRICELINK_CACHE``, else ``.cache`` of a checkout, else the user's cache."""
    if given := os.environ.get("PRICELINK_CACHE"):
        return Path(given) / "numba"
    if (_PROJECT / "pyproject.toml").exists() and os.access(_PROJECT, os.W_OK):
        return _PROJECT / ".cache" / "numba"
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "pricelink" / "numba"


def is_warm() -> bool:
    """Tells whether `mark_warm` was called for kernels of this very source."""
    return Path(os.environ["NUMBA_CACHE_DIR"], _MARK).exists()


def mark_warm() -> None:
    """Notes that all kernels are compiled, so that the next start need not say that it compiles them."""
    Path(os.environ["NUMBA_CACHE_DIR"], _MARK).touch()


def _use_cache() -> None:
    root = cache_root()
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given and Path(given).parent != root:
        Path(given).mkdir(parents=True, exist_ok=True)
        return  # the user's choice; one of ours comes from a parent process and may be of older source
    folder = root / source_hash()
    try:
        if folder.exists():
            folder.touch()
        else:
            _create(folder)
            _prune(root)
    except OSError:
        # numba raises where it may not write, even if all kernels are there.
        folder = Path(tempfile.mkdtemp(prefix="pricelink-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _prune(root: Path) -> None:
    by_age = sorted(((path.stat().st_mtime, path) for path in root.iterdir()), reverse=True)
    for used, old in by_age[_FOLDERS_KEPT:]:
        if by_age[0][0] - used > _IDLE_S:
            shutil.rmtree(old, ignore_errors=True)


_use_cache()
