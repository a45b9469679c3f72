"""Compiled kernels are kept where a change of any source finds them no more, whoever imports numba first."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("first", ["numba", "schemas.octets"])
def test_the_cache_is_ours_whatever_is_imported_first(first: str) -> None:
    code = (
        f"import {first}; from schemas.octets import scan_string; import numba, os;"
        "print(numba.config.CACHE_DIR == os.environ['NUMBA_CACHE_DIR'], scan_string._cache.cache_path)"
    )
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    same, path = done.stdout.split()
    assert same == "True"
    assert "__pycache__" not in path
