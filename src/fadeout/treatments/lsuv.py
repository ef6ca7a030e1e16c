"""Layer-sequential unit variance."""

from dataclasses import dataclass

from fadeout.call.batch import parse
from fadeout.errors import FadeoutError
from fadeout.init import lsuv_
from fadeout.records import Exam
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Lsuv(Treatment):
    """Each layer is scaled on your own data until its output has variance 1.

    Source: Mishkin and Matas 2016, arXiv:1511.06422.
    """

    id = "lsuv"
    title = "layer-sequential unit variance"
    parts = ("init",)
    source = "Mishkin and Matas 2016, arXiv:1511.06422"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "each layer is scaled on your own data until its output has variance 1"

    def operate(self, on: Surgery) -> None:
        batch = parse(on.patient.batch, verb="treat") if on.patient.batch is not None else None
        if batch is None:
            raise FadeoutError("lsuv: it looks at data; pass a batch")
        inputs = batch.inputs if batch.named or isinstance(batch.inputs, tuple) else (batch.inputs,)
        try:
            lsuv_(on.model, inputs, generator=on.draw)
        except (ValueError, RuntimeError, TypeError) as error:
            raise FadeoutError(f"lsuv: {error}") from error
        for path, _ in on.layers():
            on.write(Edit(what="init", path=path, old="", new="lsuv"))
