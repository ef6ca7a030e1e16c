"""Branches: the weight layers of each residual block, in forward order."""

from torch import nn

from fadeout.treatments.surgery import Surgery


def branches(on: Surgery, *, normed: bool = False) -> list[list[tuple[str, nn.Module]]]:
    """Layers of every block that adds its branch to a stream; blocks with a norm only where they are asked for."""
    able = on.layers()
    found = []
    taken: set[str] = set()
    blocks = sorted((p for p in on.anatomy.additions if p), key=lambda p: -p.count("."))
    for block in blocks:
        inside = [(p, m) for p, m in able if p.startswith(f"{block}.") and p not in taken]
        if not inside or (not normed and any(p in on.anatomy.normed for p, _ in inside)):
            continue
        taken.update(p for p, _ in inside)
        found.append(inside)
    order = {path: n for n, path in enumerate(on.anatomy.weights)}
    return sorted(found, key=lambda layers: order[layers[0][0]])
