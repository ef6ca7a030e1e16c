"""The way: runs of layers with no way around them, the slope of the fade, and where the forward lets go of it."""

from typing import Any

from fadeout.probe.account.chains import bypassed, chains
from fadeout.probe.account.profile import straight_line
from fadeout.probe.instruments.instrument import Instrument, Observed


class Way(Instrument):
    """What the account says of the way as a whole."""

    def fields(self, seen: Observed) -> dict[str, Any]:
        around = bypassed(seen.best.graph)
        return {
            "profile": straight_line([w.norm for w in seen.ledger.weights if w.trunk]),
            "chains": chains(seen.best, around),
            "bypassed": around,
            "gaps": seen.first.graph.gaps,
        }
