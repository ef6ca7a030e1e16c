"""A section of the page: a title, and under it pieces of HTML and drawings in their order."""

from collections.abc import Callable
from dataclasses import dataclass

from fadeout.records import Exam
from fadeout.render.drawing import Drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one section shows of one exam.

    Attributes:
        title: "" for the head of the page, which has none.
        parts: HTML, escaped already, and drawings.
        aside: A notebook folds it away.
    """

    title: str
    parts: tuple[str | Drawing, ...]
    aside: bool = False


Maker = Callable[[Exam], Section | None]  # None where the exam has nothing to show there
