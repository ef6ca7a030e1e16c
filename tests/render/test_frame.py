"""The frame: one row a layer, through pyarrow and the two ways pandas reads it."""

import math
import sys

import pandas as pd
import pytest
from exams import EXAMS, not_finite, sigmoid20

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.render import frame


class Shown:
    """Stands for an Exam with its two hooks."""

    def __init__(self, exam: Exam) -> None:
        self.exam = exam

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return frame.interchange(self.exam, nan_as_null, allow_copy)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return frame.stream(self.exam, requested_schema)


@pytest.mark.parametrize("name", EXAMS)
def test_one_row_a_layer(name: str) -> None:
    exam = EXAMS[name]()
    table = frame.table(exam)
    assert table.column("path").to_pylist() == [layer.path for layer in exam.layers]
    norms = table.column("gradient_norm").to_pylist()
    for value, layer in zip(norms, exam.layers, strict=True):
        assert value == layer.gradient_norm or (value is None and math.isnan(layer.gradient_norm))


@pytest.mark.parametrize("make", [sigmoid20, not_finite])
def test_pandas_reads_an_exam(make) -> None:  # type: ignore[no-untyped-def]
    shown = Shown(make())
    old = pd.api.interchange.from_dataframe(shown)
    assert list(old["path"]) == [layer.path for layer in shown.exam.layers]
    if hasattr(pd.DataFrame, "from_arrow"):
        assert list(pd.DataFrame.from_arrow(shown)["path"]) == list(old["path"])


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FadeoutError, match=r"pip install 'fadeout\[lab\]'"):
        frame.interchange(sigmoid20())
