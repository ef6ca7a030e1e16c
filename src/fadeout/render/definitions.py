"""Definitions: words of ours that a reader meets on a page, and the tooltips that explain them.

`definition` is the one place where a tooltip comes from.
"""

import re
from html import escape

from fadeout.terms import find

DEFINITIONS: dict[str, str] = {
    "decade": "A factor of ten: one decade less means a tenth of the gradient.",
    "decades": "Powers of ten: -3 decades means that a thousandth of the gradient is left.",
    "trunk": "The way from the loss to the data through most layers with weights.",
    "stage": "The part of a network between two places where the fewest gradients are on their way at once.",
    "stages": "The parts of a network between places where the fewest gradients are on their way at once.",
    "slopes": "The derivatives of the activations at the measured input.",
    "skips": "Where the gradient is sent two ways, or merges with what came another way.",
    "residual blocks": "A residual block is one addition to the stream, with the branch that makes what is added.",
    "shares": "Each branch's part of the gradient where branches meet; the parts add up to 100 %.",
    "update ratio": "Size of the next update over the size of the weights, as root mean squares.",
    "between samples": "Part of a layer's output that differs between samples; near 0, it no longer sees its input.",
    "mean slope": "Mean derivative of the activation, compared with the largest that it can have.",
    "dead": "Part of the units whose derivative is exactly 0 on every row that was seen.",
    "saturated": "Part of the values at which the activation's derivative is below 8 % of its largest.",
    "lost in fp16": "Part of the gradient's values that float16 rounds to zero, even with the best loss scale.",
    "lost in bf16": "Part of the gradient's values that bfloat16 rounds to zero.",
    "live rows": "Part of the softmax's rows through which a gradient passes that is worth the name.",
    "tokens apart": "How much the tokens differ from their mean after the attention: 1 apart, 0 all alike.",
    "horizon": "Time steps back until the gradient has lost one decade.",
    "best constant output": "The best that a network can do that ignores its input: the bar for having learned.",
    "on paper": "As the network is written down; in practice counts the layers that see the input and move.",
}


def definition(word: str) -> str:
    """What a word of ours means; "" where it needs no explaining."""
    found = find(word)
    return DEFINITIONS.get(word.lower(), "") if found is None else found.text


def marked(text: str) -> str:
    """A text as HTML, escaped, with the first use of every word of ours explained."""
    told: set[str] = set()

    def explained(found: re.Match[str]) -> str:
        word = found.group(0)
        said = definition(word)
        if word.lower() in told or not said:
            return word
        told.add(word.lower())
        return f'<dfn tabindex="0" title="{escape(said)}">{word}</dfn>'

    return _WORDS.sub(explained, escape(text))


_WORDS = re.compile(
    r"\b(?:" + "|".join(re.escape(escape(word)) for word in sorted(DEFINITIONS, key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)


def once(page: str) -> str:
    """A page on which every word is explained where it comes first, and nowhere again."""
    told: set[str] = set()

    def kept(found: re.Match[str]) -> str:
        new = found.group(1) not in told
        told.add(found.group(1))
        return found.group(0) if new else found.group(2)

    return _DFN.sub(kept, page)


_DFN = re.compile(r'<dfn tabindex="0" title="([^"]*)">([^<]*)</dfn>')
