"""Today: in modern networks the gradient's size is healthy, and what fades is a share of it."""

from collections.abc import Iterable

from fadeout.lab import today_attention, today_depth, today_dormant, today_dyt, today_gates, today_streams
from fadeout.lab.experiment import Experiment, Task
from fadeout.lab.today_part import NAME, Part
from fadeout.records import Row, Size

PARTS: tuple[Part, ...] = (
    today_depth.PART,
    today_streams.PART,
    today_attention.PART,
    today_gates.PART,
    today_dormant.PART,
    today_dyt.PART,
)
OF: dict[str, Part] = {arm: part for part in PARTS for arm in part.arms}


def tasks(size: Size) -> tuple[Task, ...]:
    return tuple(task for part in PARTS for task in part.tasks(size))


def measure(task: Task) -> Iterable[Row]:
    return OF[task.arm].measure(task)


EXPERIMENT = Experiment(
    name=NAME,
    title="Today a share of the gradient fades",
    chapter="Today",
    claim="In modern networks the gradient keeps its size, and yet blocks, streams, attention rows, old tokens or "
    "single units get hardly any of it.",
    source="Sun et al. 2025, 2502.05795; Zhu et al. 2024, 2409.19606, and Xie et al. 2025, 2512.24880; Zhai et al. "
    "2023, 2303.06296, and Dehghani et al. 2023, 2302.05442; Dao and Gu 2024, 2405.21060; Sokar et al. 2023, "
    "2302.12902; Zhu et al. 2025, 2503.10622",
    story=(
        "The cures of the earlier chapters are built into every large network of today, and its gradient has a healthy "
        "size from the last layer to the first. Does that end the story? We look at six designs of today, and ask of "
        "each which part of it still gets hardly any gradient.",
        "Idle blocks. The language models of today are transformers, chains of blocks. A stream of numbers runs past "
        "all blocks, and each adds its contribution to it. In the usual form, Pre-LN, a block brings what it reads to "
        "a standard size first. So the stream grows with every block while the contributions stay alike, and each "
        "later block changes the stream less. A block's share is the part of the gradient that came through it. The "
        "number of effective blocks says how many equal blocks would share the work as evenly. A loss is given in nats "
        "a character: one nat less means that the right character is found 2.7 times as likely. LayerNorm Scaling, a "
        "proposed cure, makes block l read 1 / sqrt(l) times as much, so that the stream grows slowly.",
        "Streams. Hyper-connections give a network several streams instead of one, and let every layer mix them by a "
        "small table of learned weights. The mixings of all layers multiply, like the layers of our first chapter. The "
        "proposed cure makes each table from learned numbers, the logits, in such a way that its rows and columns sum "
        "to 1 (doubly stochastic). Before that, some programs divide the logits by a number called temperature.",
        "Attention. Each position of a text chooses from which earlier positions it reads. We call its choice a row. "
        "It follows from scores; where the scores differ by much, one position gets all the weight, and a small change "
        "of the scores changes nothing. Such a row passes no gradient. How much the scores differ we state as their "
        "standard deviation. QK-norm, the cure, keeps them small by bringing the two vectors from which they are made "
        "to a standard size.",
        "Decay gates. Mamba and its kin read a text token by token (a token is a piece of text, here one symbol) and "
        "keep a memory of which a gate drops a part at every token. How fast it drops is set by a number of each head, "
        "the part of a layer that has its own memory. Two of the models in the library transformers start this number, "
        "dt_bias, at 1; the original code draws it so that the memory lasts much longer.",
        "Dormant units. A network that plays a game learns from its own guesses, so the right answers keep changing. "
        "We imitate that: the same pictures get new random answers again and again. A unit is one number of a layer's "
        "output. It is called dormant if it responds less than a fortieth as much as the mean of its layer. ReDo gives "
        "dormant units new weights; another cure pulls all weights a little back to where they started.",
        "No norms. A recent proposal replaces the normalisation of a layer by a tanh (DyT). We ask how many units "
        "still pass a gradient when the stream is wide. A unit is live if its slope is above a hundredth of the "
        "largest.",
    ),
    lesson=(
        "In each of these designs the size of the whole gradient says little, and a share says what is wrong. After "
        "training about a third of the blocks carry the gradient. Leaving out the third quarter of them costs about a "
        "tenth of what leaving out the first costs, and twice as many blocks read new text no better. Rows of "
        "attention die while the gradient of their weights grows. So look at shares: of blocks, streams, rows, tokens "
        "and units. Only among the dormant units does the size tell in the end: in one of three networks it fell by "
        "more than a decade. But when a third of the units slept, it had fallen by only a third of a decade.",
        "Some cures did what they promise. With QK-norm large weights cost next to nothing. With the slow start of the "
        "gates every network remembered over 16 tokens; with dt_bias = 1 none did over 4, and one of three didn't even "
        "over 2. Whoever loads trained weights doesn't notice this start, but whoever trains from scratch does. ReDo "
        "kept all networks awake.",
        "Other cures did less, or had a price. LayerNorm Scaling kept the stream small, but the deep blocks were not "
        "busier than before and the loss was the same. Its authors report a gain in large models after long training; "
        "our few hundred steps don't contradict that, they only don't show it. The pull back to the start kept one of "
        "three networks learning as at first; the other two lost 14 points, far fewer than without it.",
        "Doubly stochastic mixings keep the product of all layers at 1, where free ones multiplied up by 50 to 2000. "
        "But their product also averages: with a usual start almost nothing is left of the differences between the "
        "four streams, so that they act like one. And with the start of a public program the mixings receive a "
        "gradient of exactly zero and never learn.",
    ),
    setting={
        "smoke": "All six at the start of training, in small sizes: what needs no training.",
        "quick": "Character models of width 64 with 4 to 32 blocks, the trained ones for 200 steps on Python's help "
        "texts; 64 layers with four streams, 200 steps on digits; 2-layer models with attention, 150 steps; 2 layers "
        "with decay gates, 250 steps; digits with 30 sets of random answers, 150 steps each. Three seeds; ten of what "
        "needs no training and is cheap.",
        "full": "The same with up to 64 blocks and 1000 steps; 64 layers with four streams, 300 steps; memory over up "
        "to 64 tokens; 100 sets of answers. Five seeds; twenty of what needs no training and is cheap.",
    },
    seconds={"smoke": 6.0, "quick": 340.0, "full": 5500.0},
    tasks=tasks,
    measure=measure,
    expectations=tuple(expectation for part in PARTS for expectation in part.expectations),
    published=tuple(published for part in PARTS for published in part.published),
    figures=tuple(figure for part in PARTS for figure in part.figures),
)
