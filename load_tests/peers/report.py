"""What the engines did, as a table."""

from typing import Any


def table(result: dict[str, Any]) -> str:
    """Returns the results as a Markdown table, with what has to be said about it."""
    lines = [
        "| engine | records | records/s | CPU µs/record (broker's) | p50/p99 ms | peak MB | answers exact | after a crash |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, row in result["engines"].items():
        if reason := row.get("left_out"):
            notes.append(f"{name} is left out: {reason}")
            continue
        caught, late = row.get("catch_up", {}), row.get("latency", {})
        wrong = [part["difference"] for part in (caught, late) if part.get("difference")]
        repeats = sum(part.get("repeats", 0) for part in (caught, late))
        exact = "no" if wrong else ("yes" if caught or late else "-") + (f", {repeats} repeats" if repeats else "")
        cells = (
            name,
            f"{caught['records']:,}" if caught else "-",
            f"{caught['records_per_s']:,}" if caught else "-",
            _cpu(caught),
            f"{late['p50_ms']:.0f}/{late['p99_ms']:.0f}" if late else "-",
            f"{caught['peak_mb']:,}" if caught else "-",
            "failed" if "failed" in row else exact,
            row["crash"],
        )
        lines.append("| " + " | ".join(cells) + " |")
        notes.append(f"{name}: {row['how']}")
        notes += [f"{name}: {text.splitlines()[0]}" for text in (*wrong, row.get("failed")) if text]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def _cpu(caught: dict[str, Any]) -> str:
    if not caught:
        return "-"
    broker = caught["broker_cpu_us_per_record"]
    return f"{caught['cpu_us_per_record']:.1f}" + ("" if broker is None else f" ({broker:.1f})")
