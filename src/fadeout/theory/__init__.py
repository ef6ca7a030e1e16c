"""Mathematics of wide networks: what becomes of signal and gradient before a single step.

Knows no model and imports no other part of fadeout.
"""

from fadeout.theory.activation import Activation, centre_activation, read_activation
from fadeout.theory.critical import Critical, find_critical
from fadeout.theory.diagram import PhaseDiagram, phase_diagram
from fadeout.theory.expectation import Expectation, Moments, expect, expect_moments, moments_at
from fadeout.theory.finite_width import Band, band, layer_beta, sum_beta
from fadeout.theory.maps import find_correlation, find_variance, map_correlation, map_variance
from fadeout.theory.mesh import Mesh
from fadeout.theory.norms import batch_norm_gain, layer_norm_gain
from fadeout.theory.phase import MeanField, depth_scale, describe_phase, log_gain, saturated_share
from fadeout.theory.recurrent import bound_step, gate_bias, gate_log_gain, gate_time_scale, step_gain
from fadeout.theory.residual import (
    Stream,
    branch_scale,
    deepnorm_scales,
    effective_blocks,
    final_norm_gain,
    fixup_scale,
    follow_pre_norm,
    follow_residual,
    layer_norm_scaling,
    post_norm_gain,
    residual_gain,
)
from fadeout.theory.trajectory import Trajectory, default_scales, follow_variance

__all__ = [
    "Activation",
    "Band",
    "Critical",
    "Expectation",
    "MeanField",
    "Mesh",
    "Moments",
    "PhaseDiagram",
    "Stream",
    "Trajectory",
    "band",
    "batch_norm_gain",
    "bound_step",
    "branch_scale",
    "centre_activation",
    "deepnorm_scales",
    "default_scales",
    "depth_scale",
    "describe_phase",
    "effective_blocks",
    "expect",
    "expect_moments",
    "final_norm_gain",
    "find_correlation",
    "find_critical",
    "find_variance",
    "fixup_scale",
    "follow_pre_norm",
    "follow_residual",
    "follow_variance",
    "gate_bias",
    "gate_log_gain",
    "gate_time_scale",
    "layer_beta",
    "layer_norm_gain",
    "layer_norm_scaling",
    "log_gain",
    "map_correlation",
    "map_variance",
    "moments_at",
    "phase_diagram",
    "post_norm_gain",
    "read_activation",
    "residual_gain",
    "saturated_share",
    "step_gain",
    "sum_beta",
]
