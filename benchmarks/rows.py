"""Rows of what was measured: a median, ratios to others in the same rounds, aims; and their tables.

Standard library only, as report.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peers import Missing
from report import Limit, Verdict, judge, print_facts, print_table, ratio, spread


@dataclass
class Row:
    part: str
    what: str
    where: str
    unit: str
    value: float
    low: float
    high: float
    ratios: dict[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)


def row(part: str, what: str, where: str, unit: str, values: Sequence[float]) -> Row:
    measured = spread(values)
    return Row(part, what, where, unit, measured.median, measured.low, measured.high)


def aim(to: Row, limit: Limit, values: Sequence[float]) -> None:
    to.verdicts.append(judge(limit, spread(values)))


def against(
    to: Row, name: str, values: Sequence[float], others: Sequence[float], limit: Limit | None = None
) -> None:
    """A ratio to what another did in the same rounds, and the aim for it."""
    measured = ratio(values, others)
    to.ratios[name] = measured.median
    if limit is not None:
        to.verdicts.append(judge(limit, measured))


def available() -> int:
    """Bytes of memory that the kernel could give."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" if 1 <= value < 10 else f"{value:.3g}"


def cells(one: Row) -> list[str]:
    unit = f" {one.unit}" if one.unit and not one.unit.startswith("/") else one.unit
    return [
        one.what,
        one.where,
        f"{number(one.value)}{unit}",
        f"{number(one.low)} to {number(one.high)}",
        "\n".join(f"{value:.2f} x {name}" for name, value in one.ratios.items()),
        "\n".join(map(str, one.verdicts)),
    ]


COLUMNS = ["what", "where", "median", "quartiles", "ratios", "aims"]


def print_markdown(rows: list[Row]) -> None:
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|---|---:|---|---|---|")
    for one in rows:
        print("| " + " | ".join(cell.replace("\n", "; ") for cell in cells(one)) + " |")


def print_all(
    parts: Mapping[str, str],
    rows: list[Row],
    about: dict[str, str],
    left_out: Sequence[Missing],
    markdown: bool,
) -> None:
    print_facts(about)
    for part, title in parts.items():
        mine = [one for one in rows if one.part == part]
        if mine and markdown:
            print(f"\n{title}\n")
            print_markdown(mine)
        elif mine:
            print_table(title, COLUMNS, [cells(one) for one in mine])
    for peer in left_out:
        print(f"left out: {peer.name}: {peer.remedy}\n  {peer.why}")


def publish(
    parts: Mapping[str, str],
    rows: list[Row],
    facts: dict[str, str],
    missing: list[Missing],
    options: argparse.Namespace,
) -> None:
    """As --json, --markdown or neither say."""
    if not options.json:
        return print_all(parts, rows, facts, missing, options.markdown)
    document = {"machine": facts, "rows": list(map(asdict, rows)), "missing": list(map(asdict, missing))}
    print(json.dumps(document, indent=1))
    return None
