"""Results of the lab: what every finished task has measured, in a SQLite file, so that nothing is measured twice."""

import json
import os

from fadeout.records import Row
from fadeout.store.contract import build, json_text
from fadeout.store.database import Database, Layout

LAYOUT = Layout(
    verb="lab",
    holds="results of the lab",
    application=0x0FADE01A,
    version=1,
    tables="""
CREATE TABLE task (
    key TEXT NOT NULL, code TEXT NOT NULL, experiment TEXT NOT NULL, seconds REAL NOT NULL, rows TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (key, code)
) WITHOUT ROWID;
""",
    instead="pass another --folder",
)


class Results:
    """One file of results.

    Raises:
        FadeoutError: If the file is none of ours, is damaged or can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._base = Database(path, LAYOUT)

    def keep(self, key: str, code: str, experiment: str, seconds: float, rows: tuple[Row, ...]) -> None:
        """Write what a task has measured; it is there once this returns.

        Args:
            key: Names the task.
            code: Digest of the code that measured it.
            seconds: Of processor time.
        """
        values = (key, code, experiment, seconds, json_text(rows, indent=None))
        self._base.write(
            "INSERT OR REPLACE INTO task (key, code, experiment, seconds, rows) VALUES (?,?,?,?,?)", values
        )

    def found(self, code: str) -> dict[str, tuple[tuple[Row, ...], float]]:
        """Rows and seconds by key, of one version of the code."""
        listed = self._base.rows("SELECT key, rows, seconds FROM task WHERE code = ?", (code,))
        with self._base.told():
            return {
                key: (tuple(build(Row, row, at="row") for row in json.loads(text)), seconds)
                for key, text, seconds in listed
            }

    def old(self, experiment: str, code: str) -> int:
        """How many results of an experiment come from other versions of the code."""
        question = "SELECT count(*) FROM task WHERE experiment = ? AND code <> ?"
        return int(self._base.rows(question, (experiment, code))[0][0])

    def forget(self, experiment: str) -> None:
        """Delete all results of an experiment."""
        self._base.write("DELETE FROM task WHERE experiment = ?", (experiment,))

    def close(self) -> None:
        """Close the file."""
        self._base.close()
