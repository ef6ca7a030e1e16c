"""Residual nets: gains of blocks x + s f(x), with and without norms, and the depth scalings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.theory.activation import Activation, Elementwise, read_activation
from fadeout.theory.expectation import check_variance, moments_at
from fadeout.theory.maps import check_scales
from fadeout.theory.phase import log_gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A residual stream, block by block, data side first.

    Attributes:
        q: Variance of the stream before every block and after the last, length L + 1.
        log_gains: Decades of every block, length L; positive grows towards the data.
        shares: Part of the gradient that the branch of every block carries, 0 to 1.
    """

    q: tuple[float, ...]
    log_gains: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def decades(self) -> float:
        """log10 of the gradient norm at the data side over that at the loss side."""
        return math.fsum(self.log_gains)


def residual_gain(*, scale: float = 1.0, chi: float = 1.0) -> float:
    """Gain of a block x + s f(x), sqrt(1 + s^2 chi): skip and branch are orthogonal on average.

    Args:
        scale: Multiplier s of the branch; 0 (SkipInit, ReZero, zero-init) gives exactly 1.
        chi: Expected squared gain of the branch itself; 1 for a critical one (ReLU with He).
    """
    if not (math.isfinite(scale) and math.isfinite(chi) and chi >= 0):
        raise ValueError(f"residual_gain: needs a finite scale and chi >= 0, got {scale} and {chi}; mend them")
    return math.sqrt(1 + scale**2 * chi)


def follow_residual(
    phi: Activation | Elementwise,
    *,
    scales: Sequence[float],
    sigma_w: float,
    sigma_b: float = 0.0,
    start: float = 1.0,
) -> Stream:
    """Follow x' = x + s_l (W phi(x) + b) through len(scales) blocks.

    ReLU nets with s = 1 grow exponentially, tanh nets only like a power of depth.

    Args:
        phi: Elementwise activation, or one already read.
        scales: Branch multiplier of every block, data side first.
        sigma_w: Weight scale of the branches.
        sigma_b: Bias scale.
        start: Variance of the stream before the first block.

    Source: Yang and Schoenholz, arXiv:1712.08969 [recall].
    """
    sw2, sb2 = check_scales("follow_residual", sigma_w, sigma_b)
    activation = read_activation(phi)
    q = [check_variance("follow_residual", start, what="start")]
    branch = []
    for scale in scales:
        at = moments_at(activation, q[-1])
        branch.append(scale**2 * sw2 * at.slope_second)
        q.append(q[-1] + scale**2 * (sw2 * at.second + sb2))
    return _stream(q, branch)


def follow_pre_norm(
    blocks: int,
    *,
    start: float = 1.0,
    variance: float = 1.0,
    chi: float = 1.0,
    scale_norms: Sequence[float] = (),
) -> Stream:
    """Follow a Pre-LN stream x' = x + f(t_l LN(x)), whose branches see unit variance times t_l^2.

    The stream's variance grows by `variance` a block, and the branch's squared gain is chi / q:
    shares fall like 1 / l and the total stays near log10(L) / 2 decades.

    Args:
        blocks: Blocks L.
        start: Variance of the stream before the first block.
        variance: Output variance of a branch at unit input.
        chi: Squared gain of a branch at unit input; equals `variance` for ReLU-like branches.
        scale_norms: Multiplier t_l of every norm's output; () for 1, `layer_norm_scaling` for
            LayerNorm Scaling.  Branches are taken as homogeneous.

    Source: Xiong et al., arXiv:2002.04745; Sun et al., arXiv:2502.05795 (LayerNorm Scaling).
    """
    t = _multipliers(blocks, scale_norms)
    q, branch = [check_variance("follow_pre_norm", start, what="start")], []
    if q[0] == 0.0:
        raise ValueError("follow_pre_norm: the first norm divides by the stream's variance; pass start > 0")
    for factor in t:
        branch.append(chi * factor**2 / q[-1])
        q.append(q[-1] + variance * factor**2)
    return _stream(q, branch)


def final_norm_gain(stream: Stream) -> float:
    """Gain of the norm that ends a Pre-LN net, 1 / sqrt(q_L): the whole net's gradient passes it.

    It falls like 1 / sqrt(L), and with it the last block's weight gradient; Post-LN has none.

    Source: Xiong et al., arXiv:2002.04745.
    """
    return 1 / math.sqrt(stream.q[-1])


def post_norm_gain(*, alpha: float = 1.0, variance: float = 1.0, chi: float = 1.0) -> float:
    """Gain of a Post-LN block LN(alpha x + f(x)) at unit input: sqrt((alpha^2 + chi) / (alpha^2 + v)).

    1 where the branch keeps variance and gradient alike (chi = v); below 1 where its gradient
    fades faster than its signal.  A large alpha (DeepNorm) takes every block towards 1.

    Args:
        alpha: Weight of the skip; `deepnorm_scales` for DeepNorm.
        variance: Output variance v of the branch at unit input.
        chi: Squared gain of the branch at unit input.
    """
    if not (alpha >= 0 and variance >= 0 and chi >= 0 and alpha**2 + variance > 0):
        raise ValueError(
            f"post_norm_gain: needs alpha, variance and chi >= 0, got {alpha}, {variance}, {chi}; "
            "measure the branch at unit input"
        )
    return math.sqrt((alpha**2 + chi) / (alpha**2 + variance))


def effective_blocks(shares: Sequence[float]) -> float:
    """How many blocks carry the gradient, (sum s)^2 / sum s^2; L when even, 0 when all are 0."""
    squares = math.fsum(s * s for s in shares)
    return math.fsum(shares) ** 2 / squares if squares > 0 else 0.0


def branch_scale(depth: int) -> float:
    """s = 1 / sqrt(2 L): the whole stream grows by e^(1/4), 0.109 decades, at any depth L."""
    return 1 / math.sqrt(2 * _count("branch_scale", depth))


def deepnorm_scales(layers: int) -> tuple[float, float]:
    """DeepNorm's (alpha, beta) for an encoder or decoder of N layers: (2N)^(1/4), (8N)^(-1/4).

    alpha multiplies the skip before LN; beta the initial weights of FFN, value and output.

    Source: Wang et al., arXiv:2203.00555 [recall].
    """
    n = _count("deepnorm_scales", layers)
    return (2 * n) ** 0.25, (8 * n) ** -0.25


def fixup_scale(blocks: int, *, layers: int) -> float:
    """Fixup's factor on the weights inside a branch of m layers, L^(-1/(2m - 2)).

    1 layer: the last one of a branch starts at 0, so 0.0 is the limit value.

    Source: Zhang et al., arXiv:1901.09321 [recall].
    """
    count, m = _count("fixup_scale", blocks), _count("fixup_scale", layers)
    return count ** (-1 / (2 * m - 2)) if m > 1 else 0.0


def layer_norm_scaling(blocks: int) -> tuple[float, ...]:
    """LayerNorm Scaling: the multiplier 1 / sqrt(l) of the norms in block l = 1 .. L.

    Source: Sun et al., "The Curse of Depth", arXiv:2502.05795.
    """
    return tuple(1 / math.sqrt(block) for block in range(1, _count("layer_norm_scaling", blocks) + 1))


def _stream(q: list[float], branch: list[float]) -> Stream:
    return Stream(
        q=tuple(q),
        log_gains=tuple(log_gain(1 + b) for b in branch),
        shares=tuple(b / (1 + b) for b in branch),
    )


def _multipliers(blocks: int, given: Sequence[float]) -> tuple[float, ...]:
    count = _count("follow_pre_norm", blocks)
    if given and len(given) != count:
        raise ValueError(f"follow_pre_norm: {len(given)} multipliers for {count} blocks; pass one a block")
    return tuple(given) or (1.0,) * count


def _count(caller: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{caller}: needs at least one, got {value}; count blocks or layers from 1")
    return value
