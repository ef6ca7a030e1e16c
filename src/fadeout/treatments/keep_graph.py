"""No detach between steps: the gradient reaches as far back as the sequence goes."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepGraph(Treatment):
    """A state that is detached at every step is handed on with its graph: a longer truncation.

    Source: Williams and Peng 1990, truncated backpropagation through time.
    """

    id = "keep_graph"
    title = "no detach() between the steps of a loop"
    parts = ("recurrence",)
    source = "Williams and Peng 1990: truncated backpropagation through time"

    def applies_to(self, exam: Exam) -> str | None:
        cut = next((row.cut for row in exam.time if row.cut is not None), None)
        if cut is not None:
            return "its gradient through time is cut" + (f" at {cut.line}" if cut.line else "")
        lost = next((f for f in exam.findings if f.code == "FO103" and f.line), None)
        return None if lost is None else f"its graph ends at {lost.line}"

    def explain(self) -> str:
        return "the gradient goes back through all steps instead of one"

    def operate(self, on: Surgery) -> None:
        found = on.anatomy.detached
        if not found:
            raise FadeoutError("keep_graph: the forward detaches nothing again and again")
        for site, line in found.items():
            on.wiring.keeps.add(site)
            on.recipe.append(f"{line}: leave out .detach()")
