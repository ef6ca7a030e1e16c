"""FO220, FO221: layers that receive a gradient and that nothing trains."""

from fadeout.records import Evidence, Finding, Reading
from fadeout.rules.build import listed, remark
from fadeout.rules.limits import Limits


def unregistered(reading: Reading, limits: Limits) -> Finding | None:
    """FO220: layers in a plain list or dict run, but `model.parameters()` does not know them."""
    if not reading.unregistered:
        return None
    paths = reading.unregistered
    several = len(paths) != 1
    return remark(
        reading,
        code="FO220",
        label="flows",
        level="warning",
        claim=f"{listed(paths)} {'run' if several else 'runs'} inside the model, but {'are' if several else 'is'} not "
        "registered: model.parameters() leaves their weights out, so that no optimizer made from it trains them, "
        "state_dict() does not save them and .to() does not move them",
        where=paths,
        evidence=(Evidence(name="layers not registered", value=float(len(paths)), bound=0.0, unit="layers"),),
        helps=("nn.ModuleList or nn.ModuleDict in place of the plain list or dict",),
    )


def unheld(reading: Reading, limits: Limits) -> Finding | None:
    """FO221: trainable layers of the model that the optimizer was not given."""
    if not reading.unheld:
        return None
    trained = [layer.path for layer in reading.layers if layer.trained]
    left = [path for path in trained if path in set(reading.unheld)]
    if not left:
        return None
    return remark(
        reading,
        code="FO221",
        label="flows",
        level="warning",
        claim=f"the optimizer does not hold {len(left)} of {len(trained)} trainable layers: {listed(left)} "
        f"receive{'s' if len(left) == 1 else ''} a gradient and never move{'s' if len(left) == 1 else ''}",
        where=left,
        evidence=(Evidence(name="layers not in the optimizer", value=float(len(left)), bound=0.0, unit="layers"),),
        helps=("giving the optimizer all of model.parameters()", "requires_grad_(False) on them, if that is meant"),
    )
