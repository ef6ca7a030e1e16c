"""Results: what a run leaves in its folder besides the store: JSON, Parquet, the table of claims and the lab book."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fadeout.records import LabReport
from fadeout.render.lab.book import book
from fadeout.render.lab.said import claims
from fadeout.store.contract import json_text
from fadeout.store.replace import write_whole
from fadeout.store.tables import write_parquet

SCHEMA = "fadeout.lab/1"
BOOK, ROWS, TOLD, CLAIMS = "book.html", "rows.parquet", "lab.json", "claims.md"


def to_dict(reports: Sequence[LabReport]) -> dict[str, Any]:
    """The lab's part of the JSON contract."""
    return {
        "schema": SCHEMA,
        "experiments": [
            {
                "name": r.name, "claim": r.claim, "source": r.source, "status": r.status, "verdict": r.verdict,
                "expectation": r.expectation, "measured": r.measured, "seconds": r.seconds, "title": r.title,
                "chapter": r.chapter, "size": r.size, "data": r.data, "seeds": list(r.seeds),
                "expected_seconds": r.expected_seconds, "why": r.why, "told": list(r.told),
                "outcomes": [asdict(o) for o in r.outcomes], "compared": [asdict(c) for c in r.compared],
            }
            for r in reports
        ],
    }  # fmt: skip


def rows(reports: Sequence[LabReport]) -> list[dict[str, Any]]:
    """All rows of all experiments, tidy: one number a row, with everything that it belongs to."""
    return [
        {"experiment": report.name, "size": report.size, "data": report.data, **asdict(row)}
        for report in reports
        for row in report.table.rows
    ]


def write(reports: Sequence[LabReport], folder: Path) -> Path:
    """Write all of it; the book's path."""
    write_whole(folder / TOLD, json_text(to_dict(reports)), verb="lab")
    write_parquet(rows(reports), folder / ROWS, verb="lab")
    write_whole(folder / CLAIMS, claims([r for r in reports if r.status != "not run"]), verb="lab")
    return write_whole(folder / BOOK, book(reports), verb="lab")
