"""Races: every finished piece of an arm in a SQLite file, so that a race that was killed goes on where it was."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fadeout.errors import FadeoutError
from fadeout.records import Piece
from fadeout.store.contract import build, json_text

APPLICATION = 0x0FADE019  # in the header of the file: it is ours
VERSION = 1  # of the tables below

_TABLES = """
CREATE TABLE race (key TEXT PRIMARY KEY, told TEXT NOT NULL, begun TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE piece (
    race TEXT NOT NULL REFERENCES race(key), arm TEXT NOT NULL, seed INTEGER NOT NULL, stop INTEGER NOT NULL,
    piece TEXT NOT NULL, PRIMARY KEY (race, arm, seed, stop)
) WITHOUT ROWID;
"""


class Races:
    """One file of races.  Several processes may read and write it at a time.

    Raises:
        FadeoutError: If the file is none of ours, is damaged or can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._told():
            self._base = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._base.close()
                raise

    def _open(self) -> None:
        base = self._base
        (application,) = base.execute("PRAGMA application_id").fetchone()
        (version,) = base.execute("PRAGMA user_version").fetchone()
        tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION and tables:
            raise FadeoutError(f"trial: {self.path} is a database of another program; pass another file as store=")
        if application == APPLICATION and version > VERSION:
            raise FadeoutError(
                f"trial: {self.path} was written by a newer fadeout (tables of version {version}, not {VERSION}); "
                "update fadeout or pass another file as store="
            )
        base.execute("PRAGMA journal_mode = WAL")
        base.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a killed process loses nothing; a power cut at most the last piece
        if not tables:
            base.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; "
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )

    def begin(self, key: str, told: object) -> None:
        """Open the race of this key; one that was begun before goes on.

        Args:
            told: What the key was made of, for people who look into the file.
        """
        with self._told():
            self._base.execute(
                "INSERT OR IGNORE INTO race (key, told) VALUES (?, ?)", (key, json_text(told, indent=None))
            )

    def keep(self, key: str, piece: Piece) -> None:
        """Write one piece; it is there once this returns."""
        with self._told():
            self._base.execute(
                "INSERT OR REPLACE INTO piece VALUES (?, ?, ?, ?, ?)",
                (key, piece.arm, piece.seed, piece.stop, json_text(piece, indent=None)),
            )

    def pieces(self, key: str) -> dict[tuple[str, int, int], Piece]:
        """What is there of a race, by (arm, seed, stop)."""
        with self._told():
            rows = self._base.execute("SELECT piece FROM piece WHERE race = ?", (key,)).fetchall()
            found = [build(Piece, json.loads(text), at="piece") for (text,) in rows]
        return {(piece.arm, piece.seed, piece.stop): piece for piece in found}

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise FadeoutError(
                f"trial: can't use {self.path} ({error}); check the folder, or pass another store="
            ) from error
        except (sqlite3.DatabaseError, ValueError, RecursionError) as error:
            raise FadeoutError(
                f"trial: {self.path} is damaged or no file of races ({error}); move it away, or pass another store="
            ) from error
