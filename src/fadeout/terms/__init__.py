"""Terms: every word of ours that a reader meets, explained in a sentence or two.

`fadeout explain WORD` prints an entry; `fadeout.glossary.definition` gives its text.  To add a word, add an
entry to the table of the section that it belongs to.  Imports nothing but the standard library.
"""

from fadeout.terms.account import ACCOUNT, KINDS
from fadeout.terms.findings import FINDINGS
from fadeout.terms.layers import LAYERS
from fadeout.terms.sequences import SEQUENCES
from fadeout.terms.steps import STEPS
from fadeout.terms.term import Term
from fadeout.terms.theory import THEORY
from fadeout.terms.verdicts import PROGRESS, VERDICTS

SECTIONS: tuple[tuple[str, tuple[Term, ...]], ...] = (
    ("Verdict", VERDICTS),
    ("Progress", PROGRESS),
    ("Findings", FINDINGS),
    ("Account of the gradient", ACCOUNT),
    ("Kinds of operations", KINDS),
    ("Layers", LAYERS),
    ("Exam and training steps", STEPS),
    ("Sequences", SEQUENCES),
    ("Theory", THEORY),
)
TERMS: tuple[Term, ...] = tuple(term for _, terms in SECTIONS for term in terms)


def normal(word: str) -> str:
    """A word as the table is searched: lower case, one blank between its parts."""
    return " ".join(word.replace("_", " ").replace("-", " ").lower().split())


SPELLINGS: dict[str, Term] = {normal(spelling): term for term in TERMS for spelling in (term.word, *term.also)}


def find(word: str) -> Term | None:
    """The entry of a word in any of its spellings, case and underscores aside; None where there is none."""
    return SPELLINGS.get(normal(word))


__all__ = ["SECTIONS", "SPELLINGS", "TERMS", "Term", "find", "normal"]
