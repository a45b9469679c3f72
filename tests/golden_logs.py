"""The alert events that the golden logs must give."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def golden_alerts() -> Iterator[dict[str, Any]]:
    for path in sorted(GOLDEN.rglob("alerts.ndjson")):
        yield from map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
