"""A comparison as an HTML table."""

from fadeout.render import comparison, tags, words


def table(view: comparison.Comparison) -> str:
    """A column an exam, and the change between two."""
    changes = any(row.change for row in view.rows)
    heads = ["", *(words.plain(name) for name in view.names), *(["change"] if changes else [])]
    rows = [
        (row.quantity.replace("  ", "\N{EM SPACE}"), *row.values, *([row.change] if changes else []))
        for row in view.rows
    ]
    shown = tags.table(heads, rows)
    if view.layers:
        layers = [(row.quantity, *row.values, *([row.change] if changes else [])) for row in view.layers]
        shown += tags.prose("Layers that changed most, log10 of the gradient norm.", of="dim")
        shown += tags.table(["layer", *heads[1:]], layers, paths=(0,))
    return shown
