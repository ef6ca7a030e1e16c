"""What is written down of a changed optimizer is what trains from then on."""

import pytest
import torch
from torch import nn

from fadeout.treatments import BY_ID, Patient


@pytest.mark.parametrize("treatment", ["adam", "init_adam", "faster", "slower"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam, torch.optim.AdamW])
def test_the_class_and_rate_that_are_written_are_those_that_train(treatment, kind):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = kind(model.parameters(), lr=0.02)
    receipt = BY_ID[treatment].apply(
        Patient(model=model, optimizer=optimizer, batch=(torch.randn(8, 4), torch.randn(8, 2)), loss=nn.MSELoss())
    )
    made = receipt.optimizer if receipt.optimizer is not None else optimizer
    edit = next(edit for edit in receipt.edits if edit.what == "optimizer" and "lr=" in edit.new)
    assert f"lr={made.param_groups[0]['lr']:g}" in edit.new
    assert "optim" not in edit.new or f"torch.optim.{type(made).__name__}(" in edit.new
