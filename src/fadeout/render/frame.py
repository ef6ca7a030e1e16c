"""The frame: the layers of an exam as a pyarrow table, for pandas, polars and the like."""

from typing import TYPE_CHECKING, Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam

if TYPE_CHECKING:
    import pyarrow


def table(exam: Exam) -> "pyarrow.Table":
    """One row a layer, data side first; what was not measured is null.

    Raises:
        FadeoutError: If pyarrow is not installed.
    """
    pa = _pyarrow()
    seen, moved = set(exam.effective_depth.seen), set(exam.effective_depth.moved)
    known = exam.effective_depth.layers is not None
    layers = exam.layers

    def numbers(values: list[float]) -> Any:
        return pa.array(values, type=pa.float64(), from_pandas=True)  # nan becomes null

    columns = {
        "path": pa.array([layer.path for layer in layers], type=pa.string()),
        "kind": pa.array([layer.kind for layer in layers], type=pa.string()),
        "activation": pa.array([layer.activation for layer in layers], type=pa.string()),
    }
    for name in (
        "gradient_norm",
        "gradient_rms",
        "weight_gradient_norm",
        "activation_rms",
        "weight_rms",
        "mean_slope",
        "dead",
        "saturated",
        "between_samples",
        "update_ratio",
    ):
        columns[name] = numbers([getattr(layer, name) for layer in layers])
    columns["underflow_fp16"] = numbers([layer.underflow.fp16 for layer in layers])
    columns["underflow_bf16"] = numbers([layer.underflow.bf16 for layer in layers])
    for name in ("activation", "gradient", "weight"):
        counts = [getattr(layer.not_finite, name) for layer in layers]
        columns[f"not_finite_{name}"] = pa.array(counts, type=pa.int64())
    columns["trained"] = pa.array([layer.trained for layer in layers], type=pa.bool_())
    columns["reached"] = pa.array([layer.reached for layer in layers], type=pa.bool_())
    columns["sees"] = pa.array([layer.path in seen if known else None for layer in layers], type=pa.bool_())
    columns["moves"] = pa.array([layer.path in moved if known else None for layer in layers], type=pa.bool_())
    return pa.table(columns)


def interchange(exam: Exam, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
    """What `Exam.__dataframe__(nan_as_null, allow_copy)` returns: the dataframe interchange protocol."""
    return table(exam).__dataframe__(nan_as_null, allow_copy)


def stream(exam: Exam, requested_schema: object | None = None) -> object:
    """What `Exam.__arrow_c_stream__(requested_schema)` returns: pandas 3 and polars read it directly."""
    return table(exam).__arrow_c_stream__(requested_schema)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise FadeoutError(
            "table: a frame of this exam needs pyarrow, which is not installed; pip install 'fadeout[lab]'"
        ) from error
    return pyarrow
