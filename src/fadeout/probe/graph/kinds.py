"""Kinds: the ONE table from autograd node to what it does to the gradient.

The node's name proposes; the module or function that owns it decides where one name serves
several (a multiplication is a slope, a norm, a weight or a gate); what is in no table is
"other" and is listed as unaccounted, so that nothing unknown hides among known things.
"""

import re
from functools import cache

from fadeout.records import Kind

# A matrix of parameters is applied: candidates for a *weight operation* (see `is_matrix`).
_MATRIX = """Addmm Mm Bmm Baddbmm Addbmm Mv Addmv Linear MkldnnLinear Convolution ConvolutionOverrideable
MkldnnConvolution CudnnConvolution ThnnConv2D SlowConv3D ConvDepthwise2D SlowConvTranspose2D Embedding EmbeddingBag
GroupedMm ScaledMm SparseAddmm SparseMm Bilinear Trilinear Einsum MkldnnRnnLayer CudnnRnn MiopenRnn ThnnFusedLstmCell
ThnnFusedGruCell Dot Vdot Addr Outer Ger WeightInt4PackMm""".split()
_TABLE: dict[Kind, str] = {
    "weight": "WeightNormInterface WeightNormFused Prelu_Weight",
    "slope": """Relu Relu6 Tanh Sigmoid Gelu Silu Elu Selu Celu LeakyRelu Softplus Hardtanh Mish Sin Cos Tan Sinh Cosh
        Asin Acos Atan Atan2 Asinh Acosh Atanh Erf Erfc Erfinv Hardswish Hardsigmoid Hardshrink Softshrink Prelu
        PreluKernel RreluWithNoise LogSigmoid LogSigmoidForward Glu Threshold Clamp ClampMin ClampMax Abs Exp Exp2
        Expm1 Pow Square Log Log2 Log10 Log1P Logit Sinc Lgamma Digamma Polygamma Special I0 Minimum Maximum Fmin Fmax
        Sign Sgn Angle NanToNum Frac Fmod Remainder Xlogy Softsign Swish Relu6 Hypot Logaddexp Logaddexp2 SiluMul Round
        Floor Ceil Trunc Heaviside Copysign Lerp Sparsemax Bernoulli""",
    "norm": """NativeBatchNorm CudnnBatchNorm MiopenBatchNorm MkldnnBatchNorm BatchNorm BatchNormWithUpdate
        BatchNormNoUpdate LegitBatchNorm NativeLayerNorm LayerNorm NativeGroupNorm GroupNorm FusedRmsNorm RmsNorm
        InstanceNorm LinalgVectorNorm LinalgNorm LinalgMatrixNorm Norm Renorm Rsqrt Sqrt Reciprocal Var Std VarMean
        StdMean Cov CosineSimilarity Cdist PairwiseDistance EuclideanDist Dist Pdist""",
    "skip": "Add Sub Rsub Addcmul Addcdiv ForeachAdd ForeachSub",
    "mix": """ScaledDotProductFlashAttentionForCpu ScaledDotProductEfficientAttention ScaledDotProductFlashAttention
        ScaledDotProductCudnnAttention ScaledDotProductFusedAttentionOverrideable ScaledDotProductAttentionMath
        ScaledDotProductAttentionFlex FlexAttentionAutogradOp Softmax SafeSoftmax MaskedSoftmax Mean Sum Nansum Nanmean
        Prod Cumsum Cumprod Logcumsumexp Logsumexp AvgPool1D AvgPool2D AvgPool3D MaxPool2DWithIndices
        MaxPool3DWithIndices MaxPool2D MkldnnMaxPool2D MkldnnMaxPool3D AdaptiveAvgPool1D AdaptiveAvgPool2D
        AdaptiveAvgPool3D MkldnnAdaptiveAvgPool2D AdaptiveMaxPool2D AdaptiveMaxPool3D FractionalMaxPool2D
        FractionalMaxPool3D MaxUnpool2D MaxUnpool3D LpPool Max Min Amax Amin Median Nanmedian Mode Kthvalue Sort Topk
        Aminmax Gather IndexSelect Index Take TakeAlongDim MaskedFill MaskedSelect MaskedScatter Scatter ScatterAdd
        ScatterReduce IndexAdd IndexCopy IndexFill IndexPut IndexPutImpl IndexReduce Put Where Tril Triu Trace Roll Flip
        Rot90 Repeat RepeatInterleave UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D
        UpsampleNearestExact2D UpsampleNearestExact3D UpsampleLinear1D UpsampleBilinear2D UpsampleBilinear2DAa
        UpsampleBicubic2D UpsampleBicubic2DAa UpsampleTrilinear3D GridSampler2D GridSampler3D AffineGridGenerator Im2Col
        Col2Im Unfold UnfoldBackward PixelShuffle PixelUnshuffle ChannelShuffle ReflectionPad1D ReflectionPad2D
        ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D ConstantPadNd FftR2C FftC2R FftC2C Stft Istft
        Cat Stack Split UnsafeSplit SplitWithSizes UnsafeSplitWithSizes Chunk Unbind UnbindAutogradNestedTensor Select
        Slice Narrow AsStrided AsStridedScatter SliceScatter SelectScatter DiagonalScatter Diagonal Diag DiagEmbed
        BlockDiag CopySlices CopyBackwards Copy Expand ExpandAs View UnsafeView ReshapeAlias Reshape Transpose T Permute
        Unsqueeze Squeeze Alias Clone Detach Unflatten Flatten Movedim Swapaxes ViewAs ViewAsReal
        ViewAsComplex Real Imag
        Conj ConjPhysical ResolveConj ResolveNeg Complex Polar Contiguous ToPaddedTensor NestedTensorFromTensorList
        NestedViewFromBuffer NestedViewFromJagged NestedGetValues NestedFromPadded PackPaddedSequence Values Indices
        SparseCoalesce ToDense ToSparse SparseMask ScatterGather Segment SegmentReduce LinalgCross Lift LiftFresh
        Kron Tensordot Trapezoid Pad DummyHook BackwardHookFunction""",
    "loss": """
        NllLoss NllLoss2D NllLossNd LogSoftmax MseLoss BinaryCrossEntropy BinaryCrossEntropyWithLogits SmoothL1Loss
        HuberLoss SoftMarginLoss MultiMarginLoss MultilabelMarginLoss CtcLoss KlDiv L1Loss PoissonNllLoss
        CosineEmbedding
        HingeEmbedding MarginRanking TripletMargin LinearCrossEntropy""",
    "other": """ToCopy NativeDropout FusedDropout FeatureDropout AlphaDropout Mul Div TrueDivide Neg ForeachMul Scalar
        LinalgSolveEx LinalgSolveTriangular LinalgCholeskyEx LinalgInvEx LinalgDet LinalgSlogdet LinalgEigh LinalgEig
        LinalgSvd LinalgQr LinalgLuFactorEx LinalgLu LinalgPinv LinalgMatrixExp LinalgLstsq LuSolve CholeskySolve
        CholeskyInverse TriangularSolve FakeQuantizePerChannelAffineCachemask FakeQuantizePerTensorAffineCachemask
        FakeQuantizePerTensorAffineCachemaskTensorQparams Zero Fill Normal Uniform""",
}
_KIND: dict[str, Kind] = {name: kind for kind, names in _TABLE.items() for name in names.split()}
_KIND |= dict.fromkeys(_MATRIX, "weight")
_MATRICES = frozenset(_MATRIX)
_EMBEDDING = frozenset({"Embedding", "EmbeddingBag"})
# The norm of the gradient is the same on both sides where one edge comes in and one goes out.
_ISOMETRY = frozenset(
    """View UnsafeView ReshapeAlias Reshape Transpose T Permute Unsqueeze Squeeze Alias Clone Unflatten Flatten Movedim
    Swapaxes Slice Select Narrow Flip Roll Neg Detach Contiguous DummyHook""".split()
)
_FUNCTION: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "normalize layer_norm rms_norm batch_norm instance_norm group_norm local_response_norm cosine_similarity"
        ).split(),
        "norm",
    ),
    **dict.fromkeys("gelu silu mish softsign tanhshrink hardswish hardsigmoid logsigmoid softplus".split(), "slope"),
    **dict.fromkeys("softmax softmin gumbel_softmax scaled_dot_product_attention interpolate".split(), "mix"),
    **dict.fromkeys("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout".split(), "other"),
}
_SLOPE_CLASS = re.compile(
    r"gelu|silu|swish|relu|mish|sigmoid|tanh|[^a-z]elu|^elu|selu|celu|softplus|activation|snake|softsign|softshrink",
    re.I,
)
_NORM_CLASS = re.compile(r"norm(?!al(?!iz))|batchnorm|rmsnorm|layernorm|normaliz|^grn$|standardiz", re.I)


@cache
def base_name(node_name: str) -> str:
    """'torch::autograd::CopySlices' -> 'CopySlices', 'AddmmBackward0' -> 'Addmm'."""
    name = node_name.rsplit("::", 1)[-1].rstrip("0123456789")
    name = re.sub(r"Backward\d*Scalar$", "", name)
    stripped = re.sub(r"(Backward\d*)+(AutogradNestedTensor\d*)?$", "", name)
    return stripped or name


@cache
def is_double(node_name: str) -> bool:
    """Whether the node is the derivative of a derivative (a gradient penalty)."""
    return node_name.count("Backward") > 1


@cache
def is_matrix(node_name: str) -> bool:
    """Whether the operation can apply a matrix of parameters."""
    return base_name(node_name) in _MATRICES


_READS: dict[str, tuple[int, int]] = {
    **dict.fromkeys("Addmm Baddbmm Addbmm".split(), (1, 2)),
    "Mv": (1, 0),
    "Addmv": (2, 1),
    **dict.fromkeys("Embedding EmbeddingBag".split(), (0, -1)),
}
# Functions by which layers, and not products of parameters, apply their weights.
LAYER_FUNCTIONS = frozenset(
    """linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    multi_head_attention_forward""".split()
)


@cache
def operands(node_name: str) -> tuple[int, int]:
    """Places among a matrix operation's inputs: of what it usually reads, and of what it applies."""
    return _READS.get(base_name(node_name), (0, 1))


@cache
def is_embedding(node_name: str) -> bool:
    """Whether the operation looks rows up in a table."""
    return base_name(node_name) in _EMBEDDING and not is_double(node_name)


@cache
def is_isometry(node_name: str) -> bool:
    """Whether the gradient's norm passes unchanged where one edge comes in and one goes out."""
    return base_name(node_name) in _ISOMETRY and not is_double(node_name)


@cache
def is_add(node_name: str) -> bool:
    """Whether the operation adds tensors: the gradient goes both ways unchanged."""
    return base_name(node_name) in {"Add", "Sub", "Rsub"}


@cache
def is_elementwise_slope(node_name: str) -> bool:
    """Whether calling the node with ones gives the slope at every element."""
    return base_name(node_name) in _SUPREMUM and not is_double(node_name)


# Largest |slope| of each activation at its default arguments; None: by its own largest seen.
_SUPREMUM: dict[str, float | None] = {
    "Relu": 1.0, "Relu6": 1.0, "Threshold": 1.0, "Hardtanh": 1.0, "Clamp": 1.0, "ClampMin": 1.0, "Tanh": 1.0,
    "Sigmoid": 0.25, "Gelu": 1.1289, "Silu": 1.0998, "Mish": 1.0885, "Elu": None, "LeakyRelu": None, "Softplus": 1.0,
    "Hardswish": 1.5, "Hardsigmoid": 1 / 6, "Hardshrink": 1.0, "Softshrink": 1.0, "LogSigmoid": 1.0,
    "PreluKernel": None, "RreluWithNoise": None, "Erf": 2 / 3.141592653589793**0.5,
}  # fmt: skip


def slope_supremum(node_name: str) -> float | None:
    """The largest slope the activation has anywhere; None where its arguments decide."""
    return _SUPREMUM[base_name(node_name)]


@cache
def propose(node_name: str, function: str, owner: str) -> tuple[Kind, bool]:
    """Kind of an operation by its names alone, and whether any table knows it.

    Args:
        node_name: Name of the autograd node.
        function: The torch function the user called, "" where none was seen.
        owner: Class name of the innermost module, "" outside.
    """
    base = base_name(node_name)
    if base in _MATRICES:
        return "weight", True
    known = _KIND.get(base)
    if known == "loss":
        return "loss", True
    if owner and _NORM_CLASS.search(owner) and known is not None:
        return "norm", True
    if function in _FUNCTION and known is not None:
        return _FUNCTION[function], True
    if known in ("other", "slope", "norm", "mix") and owner and known != "mix" and _SLOPE_CLASS.search(owner):
        return "slope", True
    if known is not None:
        return known, True
    return "other", False


def decide(proposed: Kind, node_name: str, *, data_edges: int, parameter_edges: int, owner_has_weight: bool) -> Kind:
    """Kind of an operation once its inputs are known.

    Args:
        proposed: What `propose` said.
        node_name: Name of the autograd node.
        data_edges: Inputs that lead to the data.
        parameter_edges: Inputs that lead to parameters only.
        owner_has_weight: The innermost module holds a matrix of its own (a frozen one sends
            no edge).
    """
    base = base_name(node_name)
    if base in _EMBEDDING and data_edges:
        return "mix"  # rows of a computed tensor
    if base in {"Mm", "Bmm", "Baddbmm", "Addbmm", "Mv", "Addmv", "Dot", "Vdot", "Einsum", "GroupedMm"} or (
        base == "Addmm" and data_edges > 1
    ):
        if is_double(node_name):
            return "weight" if parameter_edges else "mix"
        return "weight" if parameter_edges or (data_edges == 1 and owner_has_weight) else "mix"
    if base in {"Mul", "Div", "TrueDivide", "ForeachMul"} and proposed == "other":
        if data_edges > 1:
            return "slope"  # a gate
        return "weight" if parameter_edges else "other"
    return proposed


@cache
def readable(node_name: str) -> str:
    """'LogSoftmaxBackward0' -> 'log_softmax', for operations the user did not call by name."""
    base = base_name(node_name)
    if not node_name.endswith(tuple("0123456789")) and "::" not in node_name:
        return base  # a custom function keeps the name its author gave it
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", base).lower() or node_name
