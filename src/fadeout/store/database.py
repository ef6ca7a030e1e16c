"""A database of ours: one SQLite file, with a mark that says whose it is and which tables it has."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fadeout.errors import FadeoutError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What one kind of file holds.

    Attributes:
        verb: Of the errors.
        holds: For people: "races".
        application: In the header of the file: it is ours, and of this kind.
        version: Of the tables; a file of a newer version is refused.
        tables: SQL that makes them.
        instead: What to do about a file that can't be used.
    """

    verb: str
    holds: str
    application: int
    version: int
    tables: str
    instead: str


class Database:
    """One open file.  Several processes may read and write it at a time (write-ahead log).

    Raises:
        FadeoutError: If the file is none of ours, is damaged or can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str], layout: Layout) -> None:
        self.path, self.layout = Path(path), layout
        with self.told():
            # several threads may write, one at a time: whoever shares the file among them holds a lock
            self._base = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._base.close()
                raise

    def _open(self) -> None:
        base, layout = self._base, self.layout
        (application,) = base.execute("PRAGMA application_id").fetchone()
        (version,) = base.execute("PRAGMA user_version").fetchone()
        tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != layout.application and tables:
            raise FadeoutError(
                f"{layout.verb}: {self.path} is a database of another program, or holds no {layout.holds}; "
                f"{layout.instead}"
            )
        if application == layout.application and version > layout.version:
            raise FadeoutError(
                f"{layout.verb}: {self.path} was written by a newer fadeout (tables of version {version}, "
                f"not {layout.version}); update fadeout, or {layout.instead}"
            )
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut at most the last row
        if not tables:
            base.executescript(
                f"BEGIN IMMEDIATE; {layout.tables} PRAGMA application_id = {layout.application}; "
                f"PRAGMA user_version = {layout.version}; COMMIT;"
            )

    def write(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """One statement; what it wrote is there once this returns."""
        with self.told():
            self._base.execute(statement, values)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements that are written all or not at all."""
        with self.told():
            self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._base.execute("ROLLBACK")
            raise
        with self.told():
            self._base.execute("COMMIT")

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.told():
            return self._base.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """What SQLite says of a broken file, as one clear line."""
        verb, holds, instead = self.layout.verb, self.layout.holds, self.layout.instead
        try:
            yield
        except sqlite3.OperationalError as error:
            raise FadeoutError(f"{verb}: can't use {self.path} ({error}); check the folder, or {instead}") from error
        except (sqlite3.DatabaseError, ValueError, RecursionError) as error:
            raise FadeoutError(
                f"{verb}: {self.path} is damaged or no file of {holds} ({error}); move it away, or {instead}"
            ) from error
