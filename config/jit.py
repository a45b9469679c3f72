"""Where numba keeps compiled kernels between runs. Import this before the first kernel.

numba's own cache looks only at the file a kernel is in: a kernel whose callee changed in another file would be loaded
as it was. So the cache's folder is named after a hash of every source file that holds kernels, and of numba itself;
another version of the source compiles into a folder of its own, and old folders are dropped.
"""

import atexit
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).resolve().parent.parent
_KERNEL_PACKAGES: Final = ("schemas", "streams")
_MARK: Final = "warm"
_FOLDERS_KEPT: Final = 3
_IDLE_S: Final = 3600.0
"""A folder used within the last hour is never dropped: a process may be compiling into it."""


def source_hash() -> str:
    """Returns 16 hex digits that change with any source file of the kernels, with numba, Python and the processor."""
    digest = hashlib.sha256()
    for package in _KERNEL_PACKAGES:
        for path in sorted((_PROJECT / package).rglob("*.py")):
            digest.update(path.relative_to(_PROJECT).as_posix().encode())
            digest.update(path.read_bytes())
    for part in (importlib.metadata.version("numba"), platform.python_version(), platform.machine()):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


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
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
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
