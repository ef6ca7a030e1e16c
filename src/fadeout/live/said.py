"""Said: what the reader of a run is told about its probes, besides the findings."""

from fadeout.errors import FadeoutError

IN_PARTS = (
    "the script calls parts of the network one by one, so the way back is measured in each part by itself; "
    "what lies between them is not in the account"
)
SHARDED = (
    "parameters are sharded: norms are those of all shards together; the way back through the layers "
    "is not measured, because that would need every process at once"
)
AT_ONCE = "several threads train the network at once, so the way back through its layers is not measured"
INSIDE = (
    "the optimizers step inside the backward pass, so a probe is taken right after it, with the weights that "
    "the step has made"
)

COMPILED = (
    "no call of the network was seen outside of compiled code, so only the norms of its gradients are known; where it "
    "is called inside of a function that is compiled, compile the network itself (torch.compile(model)) and the way "
    "back is measured too"
)


def reason(error: Exception) -> str:
    """Why no probe could be taken."""
    cause = error.__cause__
    if isinstance(error, FadeoutError) and cause is None:
        return str(error).removeprefix("run: ")
    cause = cause or error
    first = (str(cause).splitlines() or [""])[0]
    return (
        "the way back could not be measured, because running the network once more on the side failed "
        f"({type(cause).__name__}: {first[:160]}); your training itself did not fail"
    )
