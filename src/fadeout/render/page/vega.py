"""Vega: the library that draws on a page, and drawings as pictures where no script may run."""

from functools import cache
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.render import charts
from fadeout.render.drawing import Drawing

vl_convert: Any
try:
    import vl_convert
except ImportError:  # it comes with fadeout; a notebook without it still gets text and tables
    vl_convert = None

GREY = "#808891"  # reads on white and on black
PICTURE = 620  # pixels: as wide as a notebook's cell


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    The three addresses inside (a help page, a schema, an editor that is switched off) lose
    their scheme: nothing in the file may point outside.

    Raises:
        FadeoutError: If vl-convert is not installed.
    """
    if vl_convert is None:
        raise FadeoutError("page: charts need vl-convert-python; pip install vl-convert-python")
    bundle: str = vl_convert.javascript_bundle()
    return bundle.replace("https://", "").replace("</script", "<\\/script")


def picture(drawing: Drawing) -> str:
    """A drawing as SVG; "" where vl-convert is not installed."""
    if vl_convert is None:
        return ""
    spec = charts.spec(drawing.chart, width=PICTURE)
    spec["config"]["aria"] = False
    spec["config"]["axis"] |= {"labelColor": GREY, "titleColor": GREY, "gridColor": f"{GREY}40"}
    spec["padding"] = {"left": 24, "right": 8, "top": 5, "bottom": 5}  # fonts here and there differ in width
    spec["config"]["legend"] = {"labelColor": GREY, "titleColor": GREY}
    drawn: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return drawn
