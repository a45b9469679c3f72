"""Prometheus and its tools, as Debian has them."""

import shutil

import pytest


def tool(name: str) -> str:
    """Returns where a tool is; a test that needs it fails without it."""
    if (found := shutil.which(name)) is None:
        pytest.fail(f"no {name}: `apt-get install prometheus prometheus-alertmanager`, or put it into PATH")
    return found
