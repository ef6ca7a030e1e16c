"""Terms of an exam and of the training steps it can do on a copy."""

from fadeout.terms.term import Term, term

STEPS: tuple[Term, ...] = (
    term(
        "exam",
        "What `fadeout.examine` returns: everything measured about one network, with verdict and findings. It can be "
        "printed, saved as JSON and written as a page.",
        also="examine",
    ),
    term(
        "probe",
        "One measurement: a forward and a backward pass on the same rows. With steps= probes lie after 0, 3, 6, 11, "
        "21, 40, ... training steps and at the end.",
        also="probes",
        more="docs/findings/index.md",
    ),
    term(
        "course",
        "The training steps that steps= does on a copy of the network, with the probes on the way. Your model and "
        "optimizer are not touched.",
        also="steps",
    ),
    term(
        "sign",
        "What a rule looks for at one probe. It stands, or persists, if the last probe shows it, or half of at least "
        "three. It is there all along if four fifths of all probes show it, the last or the one before it among them. "
        "It came and stayed if it is there all along, or in the last probe and in one of the two before.",
        also="signs, stands, all along, persist, persists, persistence, came and stayed",
        more="docs/findings/index.md",
    ),
    term(
        "terms of the loss",
        "Where the loss is a sum: what each of its terms sends back by itself, and whom it reaches. A term that "
        "reaches nothing of what the step trains does nothing.",
        also="loss terms, loss term, term of the loss",
        more="FO103",
    ),
    term("reading", "What an exam measures, without what it concludes; `fadeout.read` returns one.", also="read"),
    term(
        "clipped",
        "The share of the training steps at which gradient clipping made the gradient smaller.",
        also="clipping",
        more="FO214",
    ),
    term(
        "factory",
        "On the command line: a function without arguments that returns the model; (model, batch); (model, batch, "
        "loss); or these and the optimizer. It is written file.py:function or package.module:function.",
        also="target",
    ),
    term(
        "n/a",
        "The number was not measured, or it is not defined here (0 over 0, for example).",
        also="null, not measured",
    ),
    term(
        "sealed half",
        "The half of the 404 test programs that nobody looked at while the rules were made. Its figures are the honest "
        "ones.",
        also="sealed, tuned half, tuned",
        more="docs/truth.md",
    ),
)
