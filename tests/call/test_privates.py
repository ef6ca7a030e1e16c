"""torch still has every private name that we stand on, and it does what we think."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from fadeout.call import privates


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        (privates.BatchNorm, (nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2))),
        (privates.InstanceNorm, (nn.InstanceNorm1d(2), nn.InstanceNorm3d(2))),
        (privates.Conv, (nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.ConvTranspose3d(1, 1, 1))),
        (privates.ConvTranspose, (nn.ConvTranspose1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1))),
        (privates.Dropout, (nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout())),
    ],
)
def test_base_classes_hold_what_they_are_named_for(kind, modules):
    assert all(isinstance(module, kind) for module in modules) and not isinstance(nn.Linear(1, 1), kind)


def test_a_modules_own_tables():
    model = net()
    assert list(privates.children(model)) == ["0", "1", "2"]
    assert list(privates.parameters(model[0])) == ["weight", "bias"]
    assert "running_mean" in privates.buffers(model[1])
    assert {privates.PARAMETERS, privates.MODULES, privates.BUFFERS} <= vars(model).keys()
    assert not privates.has_backward_hooks(model)
    model.register_full_backward_hook(lambda *a: None)
    assert privates.has_backward_hooks(model)


def test_tensors_have_versions_and_tables_of_hooks():
    p = nn.Parameter(torch.ones(2))
    before = privates.version(p)
    with torch.no_grad():
        p.add_(1)
    assert privates.version(p) == before + 1
    p.register_hook(lambda g: g)
    p.register_post_accumulate_grad_hook(lambda p: None)
    assert all(len(getattr(p, table)) == 1 for table in privates.TENSOR_HOOKS)


def test_many_tensors_at_once():
    a, b = [torch.tensor([3.0, 4.0]), torch.ones(4)], [torch.zeros(2), torch.zeros(4)]
    assert [float(n) for n in privates.norms(a, torch.float64)] == [5.0, 2.0]
    assert [d.tolist() for d in privates.differences(a, b)] == [[3.0, 4.0], [1.0] * 4]
    privates.copy_all(b, a)
    assert torch.equal(a[0], b[0])


def test_nodes_tell_what_they_saved_and_what_arrives():
    x = torch.randn(2, 3, requires_grad=True)
    node = x.softmax(-1).grad_fn
    assert torch.equal(privates.saved(node, "result"), x.softmax(-1))
    assert privates.saved(node, "no_such_thing", 7) == 7
    assert privates.arriving(node) == ((2, 3), torch.float32, torch.device("cpu"))
    assert privates.saved(F.gelu(x, approximate="tanh").grad_fn, "approximate") == "tanh"
    assert privates.saved((x * 2.0).grad_fn, "other") is not None
    q = torch.randn(1, 1, 4, 8, requires_grad=True)
    fused = F.scaled_dot_product_attention(q, q, q, is_causal=True).grad_fn
    assert privates.saved(fused, "key").shape == q.shape and privates.saved(fused, "is_causal") is True


def test_modes_transforms_and_global_tables():
    assert privates.open_modes() == 0 and not privates.transformed()
    seen = []
    torch.func.vmap(lambda v: seen.append(privates.transformed()) or v)(torch.ones(2))
    assert seen == [True]
    with torch.overrides.BaseTorchFunctionMode():
        assert privates.open_modes() == 1
    torch.overrides.BaseTorchFunctionMode().__enter__()
    privates.leave_mode()
    assert privates.open_modes() == 0
    handle = nn.modules.module.register_module_forward_hook(lambda *a: None, with_kwargs=True, always_call=True)
    _, after, always = privates.forward_hook_tables()
    assert handle.id in after and handle.id in always and handle.id in privates.keyword_hook_table()
    handle.remove()
    privates.keyword_hook_table().pop(handle.id, None)
    step = register_optimizer_step_post_hook(lambda *a: None)
    assert step.id in privates.optimizer_hook_tables()[1]
    step.remove()


def test_a_hook_of_a_gradient_knows_that_it_is_inside_a_backward_pass():
    seen = []
    weight = torch.ones(3, requires_grad=True)
    weight.register_post_accumulate_grad_hook(lambda p: seen.append(privates.in_backward()))
    weight.sum().backward()
    assert seen == [True] and not privates.in_backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compilers_stance_is_put_back():
    torch.compiler.set_stance("default")  # which imports the compiler
    before = privates.stance()
    assert privates.compiler_loaded()
    torch.compiler.set_stance("force_eager")
    assert privates.stance() != before
    privates.set_stance(before)
    assert privates.stance() == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_that_are_only_names():
    optimizer = torch.optim.SGD(net().parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert getattr(optimizer.step, privates.SCHEDULED)
    assert hasattr(nn.Module, privates.CALL) and hasattr(torch.compile(net()), privates.COMPILED)
    assert all(any(name.startswith(start) for name in dir(torch)) for start in privates.IN_PLACE)


def test_tables_of_hooks_of_a_module_and_of_the_process():
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    model = net()
    assert vars(model).keys() >= privates.TABLES and not any(privates.hooks_of(model))
    model.register_forward_hook(lambda *a: None)
    model.register_full_backward_hook(lambda *a: None)
    assert sum(len(table) for table in privates.hooks_of(model)) == 2
    seen = []
    handles = [
        register_module_forward_pre_hook(lambda m, a: seen.append(privates.keywords_of_call())),
        register_module_forward_hook(lambda *a: None, with_kwargs=True, always_call=True),
    ]
    assert sum(len(table) for table in privates.global_hook_tables()) == 2
    nn.Bilinear(2, 2, 1)(torch.ones(1, 2), input2=torch.ones(1, 2))
    assert list(seen[0]) == ["input2"]
    for handle in handles:
        handle.remove()
        privates.forget_hook(handle.id)
    assert not any(privates.global_hook_tables()) and not any(privates.forward_hook_tables())
    assert not privates.keyword_hook_table()


def test_what_was_compiled_is_known():
    torch._dynamo.reset()
    torch.compiler.disable(net())(torch.ones(2, 3))
    assert not privates.compiled()
    torch.compile(net(), backend="eager")
    assert privates.compiled()
    torch._dynamo.reset()
    assert not privates.compiled()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_the_tables_of_a_scripted_module_are_dicts():
    scripted = torch.jit.script(net())
    assert list(privates.children(scripted)) == ["0", "1", "2"]
    assert list(privates.parameters(getattr(scripted, "0"))) == ["weight", "bias"]
    assert "running_mean" in privates.buffers(getattr(scripted, "1"))
