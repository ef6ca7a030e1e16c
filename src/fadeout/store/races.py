"""Races: every finished piece of an arm in a SQLite file, so that a race that was killed goes on where it was."""

import json
import os

from fadeout.records import Piece
from fadeout.store.contract import build, json_text
from fadeout.store.database import Database, Layout

LAYOUT = Layout(
    verb="trial",
    holds="races",
    application=0x0FADE019,
    version=1,
    tables="""
CREATE TABLE race (key TEXT PRIMARY KEY, told TEXT NOT NULL, begun TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE piece (
    race TEXT NOT NULL REFERENCES race(key), arm TEXT NOT NULL, seed INTEGER NOT NULL, stop INTEGER NOT NULL,
    piece TEXT NOT NULL, PRIMARY KEY (race, arm, seed, stop)
) WITHOUT ROWID;
""",
    instead="pass another file as store=",
)


class Races:
    """One file of races.

    Raises:
        FadeoutError: If the file is none of ours, is damaged or can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._base = Database(path, LAYOUT)

    def begin(self, key: str, told: object) -> None:
        """Open the race of this key; one that was begun before goes on.

        Args:
            told: What the key was made of, for people who look into the file.
        """
        told_text = json_text(told, indent=None)
        self._base.write("INSERT OR IGNORE INTO race (key, told) VALUES (?, ?)", (key, told_text))

    def keep(self, key: str, piece: Piece) -> None:
        """Write one piece; it is there once this returns."""
        values = (key, piece.arm, piece.seed, piece.stop, json_text(piece, indent=None))
        self._base.write("INSERT OR REPLACE INTO piece VALUES (?, ?, ?, ?, ?)", values)

    def pieces(self, key: str) -> dict[tuple[str, int, int], Piece]:
        """What is there of a race, by (arm, seed, stop)."""
        rows = self._base.rows("SELECT piece FROM piece WHERE race = ?", (key,))
        with self._base.told():
            found = [build(Piece, json.loads(text), at="piece") for (text,) in rows]
        return {(piece.arm, piece.seed, piece.stop): piece for piece in found}

    def close(self) -> None:
        """Close the file."""
        self._base.close()
