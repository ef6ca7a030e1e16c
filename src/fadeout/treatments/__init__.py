"""Treatments: what brings a gradient back, a file each, and the table of all."""

from fadeout.treatments.adam import Adam
from fadeout.treatments.adam_eps import AdamEps
from fadeout.treatments.batch_norm import BatchNormed
from fadeout.treatments.bf16 import Bf16
from fadeout.treatments.branch_scale import BranchScale
from fadeout.treatments.bundle import BUNDLES, Bundle
from fadeout.treatments.centred_sigmoid import CentredSigmoid
from fadeout.treatments.chrono import Chrono
from fadeout.treatments.clip import Clip
from fadeout.treatments.critical_init import CriticalInit
from fadeout.treatments.deep_norm import DeepNorm
from fadeout.treatments.delta_orthogonal import DeltaOrthogonal
from fadeout.treatments.dt_bias import DtBias
from fadeout.treatments.faster import Faster
from fadeout.treatments.fixup import Fixup
from fadeout.treatments.forget_bias import ForgetBias
from fadeout.treatments.gelu import Gelu
from fadeout.treatments.glorot_init import GlorotInit
from fadeout.treatments.group_norm import GroupNormed
from fadeout.treatments.gru import Gru
from fadeout.treatments.he_init import HeInit
from fadeout.treatments.identity_recurrence import IdentityRecurrence
from fadeout.treatments.keep_graph import KeepGraph
from fadeout.treatments.layer_norm import LayerNormed
from fadeout.treatments.layer_norm_scaling import LayerNormScaling
from fadeout.treatments.leaky_relu import LeakyRelu
from fadeout.treatments.lecun_init import LecunInit
from fadeout.treatments.loss_scaling import LossScaling
from fadeout.treatments.lstm import Lstm
from fadeout.treatments.lsuv import Lsuv
from fadeout.treatments.orthogonal_init import OrthogonalInit
from fadeout.treatments.patient import Edit, Patient, Receipt
from fadeout.treatments.pre_norm import PreNorm
from fadeout.treatments.qk_norm import QkNorm
from fadeout.treatments.relu import Relu
from fadeout.treatments.residual import Residual
from fadeout.treatments.rezero import ReZero
from fadeout.treatments.rms_norm import RmsNormed
from fadeout.treatments.selu import Selu
from fadeout.treatments.silu import Silu
from fadeout.treatments.skip_init import SkipInit
from fadeout.treatments.slower import Slower
from fadeout.treatments.standard_input import StandardInput
from fadeout.treatments.stretch_output import StretchOutput
from fadeout.treatments.tanh import Tanh
from fadeout.treatments.treatment import Treatment
from fadeout.treatments.warmup import WarmUp
from fadeout.treatments.weight_standardisation import WeightStandardisation
from fadeout.treatments.zero_bias import ZeroBias

TREATMENTS: tuple[Treatment, ...] = (
    *BUNDLES,
    DtBias(),
    KeepGraph(),
    Relu(),
    Tanh(),
    Selu(),
    CentredSigmoid(),
    BatchNormed(),
    LayerNormed(),
    RmsNormed(),
    GroupNormed(),
    CriticalInit(),
    Lsuv(),
    OrthogonalInit(),
    HeInit(),
    GlorotInit(),
    LecunInit(),
    DeltaOrthogonal(),
    Gelu(),
    Silu(),
    LeakyRelu(),
    Residual(),
    SkipInit(),
    ReZero(),
    BranchScale(),
    Fixup(),
    PreNorm(),
    DeepNorm(),
    LayerNormScaling(),
    QkNorm(),
    WeightStandardisation(),
    Lstm(),
    Gru(),
    IdentityRecurrence(),
    Chrono(),
    ForgetBias(),
    Adam(),
    Slower(),
    Faster(),
    Clip(),
    WarmUp(),
    AdamEps(),
    ZeroBias(),
    StandardInput(),
    StretchOutput(),
    Bf16(),
    LossScaling(),
)
BY_ID: dict[str, Treatment] = {treatment.id: treatment for treatment in TREATMENTS}

__all__ = ["BUNDLES", "BY_ID", "TREATMENTS", "Bundle", "Edit", "Patient", "Receipt", "Treatment"]
