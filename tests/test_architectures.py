"""Architectures a user would bring: the account closes, the model is untouched, healthy ones are left in peace."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
import models

transformers = pytest.importorskip("transformers")


def seeded(make):
    torch.manual_seed(0)
    return make()


def ids(rows=4, length=10, vocabulary=60):
    return torch.randint(1, vocabulary, (rows, length), generator=torch.Generator().manual_seed(1))


def images(size, channels=3, rows=4):
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(1))


def gpt2():
    config = transformers.GPT2Config(n_layer=4, n_embd=32, n_head=4, vocab_size=60, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config), {"input_ids": ids(), "labels": ids()}


def llama():
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=60,
    )
    return transformers.LlamaForCausalLM(config), {"input_ids": ids(), "labels": ids()}


def bert():
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, vocab_size=60, num_labels=3
    )
    model = transformers.BertForSequenceClassification(config)
    return model, {"input_ids": ids(), "attention_mask": torch.ones(4, 10), "labels": torch.arange(4) % 3}


def t5():
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=60, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config), {"input_ids": ids(), "labels": ids()}


def vit():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=4,
        num_labels=5,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config), {"pixel_values": images(16), "labels": torch.arange(4)}


def resnet50():
    config = transformers.ResNetConfig(num_labels=5)
    return transformers.ResNetForImageClassification(config), {"pixel_values": images(64), "labels": torch.arange(4)}


def convnext():
    config = transformers.ConvNextConfig(depths=[1, 1, 2, 1], hidden_sizes=[8, 16, 24, 32], num_labels=5)
    return transformers.ConvNextForImageClassification(config), {"pixel_values": images(64), "labels": torch.arange(4)}


def swin():
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[1, 2], num_heads=[2, 4], window_size=4, num_labels=5
    )
    return transformers.SwinForImageClassification(config), {"pixel_values": images(32), "labels": torch.arange(4)}


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(60, 32)
        self.body = nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, 60)

    def forward(self, source, target_ids):
        return self.head(self.body(self.embed(source), self.embed(target_ids))).transpose(1, 2)


def seq2seq():
    return Seq2Seq(), (({"source": ids(), "target_ids": ids(length=6)}, ids(length=6)), F.cross_entropy)


def of_case(make):
    case = make()
    return case.model, (case.batch, case.loss)


FAMILIES = {
    **{make.__name__: make for make in (gpt2, llama, bert, t5, vit, resnet50, convnext, swin, seq2seq)},
    **{make.__name__: (lambda make=make: of_case(make)) for make in models.CASES},
}


def call(name):
    model, batch = seeded(FAMILIES[name])
    if isinstance(batch, dict):
        return model, batch, {}
    return model, batch[0], {"loss": batch[1]}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_account_closes_and_the_model_is_untouched(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the architecture's own
        model, batch, options = call(name)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        random = torch.get_rng_state()
        exam = fadeout.examine(model, batch, **options, optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3))
    ledger = exam.ledger
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert ledger.closing_error < 1e-6
    assert sum(gain for _, gain in ledger.by_kind) == pytest.approx(ledger.log_gain, abs=1e-9)
    assert sum(stage.log_gain for stage in ledger.stages) == pytest.approx(ledger.log_gain, abs=1e-9)
    assert exam.verdict == "flows", exam.sentence
    assert math.isfinite(exam.decades)
    assert not [u for u in ledger.unaccounted if "unknown kind" in u.why]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "vit", "swin"])
def test_residual_streams_are_found_block_by_block(name):
    model, batch, options = call(name)
    blocks = fadeout.measure(model, batch, **options).blocks
    layers = {"gpt2": 4, "llama": 4, "bert": 3, "vit": 3, "swin": 3}[name]
    assert len(blocks.blocks) == 2 * layers


@pytest.mark.parametrize("name", ["gpt2", "resnet50", "u_net", "dense_net"])
def test_every_weight_norm_equals_the_gradient_asked_for_by_itself(name):
    model, batch, options = call(name)
    model.eval()
    ledger = fadeout.measure(model, batch, **options)
    measured = sorted(w.norm for w in ledger.weights)
    keep = []
    hooks = [
        m.register_forward_hook(lambda m, a, out: keep.append(out))
        for m in model.modules()
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding, transformers.pytorch_utils.Conv1D))
    ]
    loss = model(**batch).loss if isinstance(batch, dict) else options["loss"](model(batch[0]), batch[1])
    for hook in hooks:
        hook.remove()
    direct = sorted(
        math.log10(float(torch.autograd.grad(loss, out, retain_graph=True)[0].double().norm())) for out in keep
    )
    assert measured == pytest.approx(direct, abs=1e-5)


def test_a_generator_step_sees_the_critic_as_part_of_the_way():
    generator_step, critic_step = models.gan()
    for case in (generator_step, critic_step):
        exam = fadeout.examine(case.model, step=case.step)
        assert exam.verdict == "flows", exam.sentence
        assert exam.ledger.closing_error < 1e-6


def test_a_gradient_penalty_needs_a_second_backward_and_gets_it():
    case = models.gradient_penalty()
    exam = fadeout.examine(case.model, step=case.step)
    assert exam.verdict == "flows", exam.sentence
    assert exam.ledger.closing_error < 1e-6


def test_idle_experts_are_no_finding():
    case = models.mixture_of_experts(experts=6, idle=3)
    exam = fadeout.examine(case.model, case.batch, loss=case.loss)
    assert exam.verdict == "flows"
    assert any(not layer.reached for layer in exam.layers)


def test_lora_on_a_frozen_model_with_zero_adapters_is_no_alarm():
    class Lora(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a, self.b = nn.Parameter(torch.randn(16, 2) * 0.1), nn.Parameter(torch.zeros(2, 16))

        def forward(self, x):
            return self.base(x) + x @ self.a @ self.b

    torch.manual_seed(0)
    body = nn.Sequential(Lora(nn.Linear(16, 16)), nn.Tanh(), Lora(nn.Linear(16, 16)), nn.Linear(16, 3))
    exam = fadeout.examine(body, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    assert exam.verdict == "flows"
    assert not exam.findings


class Adapter(nn.Module):
    """LoRA as libraries write it: two layers beside a frozen one, the second of zeros."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


@pytest.mark.parametrize("depth", [2, 6])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("front", [False, True])
def test_fresh_adapters_flow_up_to_their_zeros(depth, head, front):
    torch.manual_seed(0)
    frozen = [nn.Linear(16, 16).requires_grad_(False), nn.Tanh()] if front else []
    layers = [m for _ in range(depth) for m in (Adapter(nn.Linear(16, 16)), nn.Tanh())]
    net = nn.Sequential(*frozen, *layers, nn.Linear(16, 3).requires_grad_(head))
    exam = fadeout.examine(net, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    assert exam.verdict == "flows", exam.sentence
    assert ("zero-initialised parts" in exam.sentence) == front


def test_fresh_adapters_in_front_of_sigmoids_do_not_flow():
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (Adapter(nn.Linear(16, 16)), nn.Sigmoid())]
    net = nn.Sequential(nn.Linear(16, 16).requires_grad_(False), *layers, nn.Linear(16, 3))
    exam = fadeout.examine(net, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    assert exam.verdict != "flows"


def test_a_zero_head_says_nothing_of_what_is_behind_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    nn.init.zeros_(net[-1].weight)
    exam = fadeout.examine(net, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    assert exam.verdict == "undetermined"


class Symbols(nn.Module):
    """An embedding in front of a norm, and layers."""

    def __init__(self, scale, blocks):
        super().__init__()
        self.embed, self.norm = nn.Embedding(60, 32), nn.LayerNorm(32, eps=1e-12)
        nn.init.uniform_(self.embed.weight, -scale, scale)
        self.blocks, self.head = blocks, nn.Linear(32, 60)

    def forward(self, x):
        return self.head(self.blocks(self.norm(self.embed(x)))).transpose(1, 2)


class ByHand(nn.Module):
    """RMSNorm as libraries write it."""

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-12)


class PreNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.body = ByHand(), nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x):
        return x + self.body(self.norm(x))


def test_nor_is_one_in_front_of_a_stream_whose_norms_are_written_by_hand():
    torch.manual_seed(0)
    net = Symbols(1e-4, nn.Sequential(PreNorm(), PreNorm(), ByHand()))
    net.norm = nn.Identity()
    exam = fadeout.examine(net, (ids(), ids()), loss=F.cross_entropy)
    assert exam.decades > 3
    assert exam.verdict == "flows", exam.sentence


def test_a_tiny_first_layer_in_front_of_a_norm_is_no_explosion():
    """RWKV starts its embedding at 1e-4, on purpose: the norm behind it makes the gradient 1e4 times as large."""
    torch.manual_seed(0)
    exam = fadeout.examine(Symbols(1e-4, nn.Identity()), (ids(), ids()), loss=F.cross_entropy)
    assert exam.decades > 3
    assert exam.verdict == "flows", exam.sentence


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_layers_behind_it_that_explode_are_an_explosion(scale):
    torch.manual_seed(0)
    blocks = nn.Sequential(*(nn.Linear(32, 32) for _ in range(8)))
    for layer in blocks:
        nn.init.normal_(layer.weight, std=0.6)
    exam = fadeout.examine(Symbols(scale, blocks), (ids(), ids()), loss=F.cross_entropy)
    assert exam.verdict == "exploding", exam.sentence


def test_a_forward_that_asks_for_the_gradient_of_its_input_is_read_from_there():
    """As wav2vec does; with a table of positions beside it, which no data enters."""

    class Sound(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)
            self.places = nn.Embedding(5, 1)

        def forward(self, x):
            x = x[:, None]
            x.requires_grad = True
            scores = 1e-4 * self.places(torch.arange(5)).mean()
            return self.head(torch.relu(self.second(torch.relu(self.first(x))) * (1 + scores)))[:, 0]

    torch.manual_seed(0)
    exam = fadeout.examine(Sound(), (torch.randn(9, 8), torch.arange(9) % 3), loss=F.cross_entropy)
    assert "input" in [end.what for end in exam.ledger.ends]
    assert exam.decades > -2
    assert exam.verdict == "flows"


def test_the_headline_is_the_trunks_where_a_side_chain_fades():
    from fadeout.records import Finding
    from fadeout.rules import sentence

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    reading = fadeout.read(net, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    finding = Finding(
        code="FO101", label="vanishing", level="warning", claim="", where=("side.3",), line="", decades=-7.0,
        expected=math.nan, since=0, confidence=math.nan, cause=(), status="account", evidence=(), advice=(),
        chain=("side.3", "side.0"),
    )  # fmt: skip
    said = sentence(reading, "flows", [finding])
    assert said.startswith("The gradient flows")
    assert "In the chain from side.3 to side.0 it fades, -7.0 decades" in said


def test_a_skip_by_slicing_and_padding_is_a_residual_block():
    """ResNet's option A, as on CIFAR-10."""

    class Halving(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.a = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
            self.b = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1)
            self.more = channels // 2

        def forward(self, x):
            skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
            return torch.relu(skip + self.b(torch.relu(self.a(x))))

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), Halving(4), Halving(8), nn.Flatten(), nn.Linear(256, 5))
    blocks = fadeout.measure(net, (images(16), torch.arange(4)), loss=F.cross_entropy).blocks
    assert blocks is not None
    assert len(blocks.blocks) == 2


def test_autocast_by_default_is_read_in_the_devices_format():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    batch = (torch.randn(9, 16), torch.arange(9) % 3)
    assert fadeout.read(net, batch, loss=F.cross_entropy, autocast=True).dtype == "bfloat16"
    assert fadeout.read(net, batch, loss=F.cross_entropy, autocast=torch.float16).dtype == "float16"
    assert fadeout.read(net, batch, loss=F.cross_entropy, autocast=False).dtype == "float32"


def test_a_layer_that_float32_itself_leaves_nothing_is_flushed_whole():
    torch.manual_seed(0)
    layers = [m for _ in range(60) for m in (nn.Linear(16, 16), nn.Sigmoid())]
    net = nn.Sequential(*layers, nn.Linear(16, 3))
    exam = fadeout.examine(net, (torch.randn(9, 16), torch.arange(9) % 3), loss=F.cross_entropy)
    first = exam.layers[0]
    assert 0 < first.gradient_norm < 1e-46
    assert (first.underflow.fp16, first.underflow.bf16) == (1.0, 1.0)
    assert not any(math.isnan(layer.underflow.fp16) for layer in exam.layers)


class SlowCopy(nn.Module):
    """An encoder, a predictor, and the encoder's frozen copy."""

    def __init__(self):
        super().__init__()

        def coder():
            return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6), nn.BatchNorm1d(6))

        self.net, self.predictor, self.slow = coder(), nn.Linear(6, 6), coder()
        self.slow.requires_grad_(False)

    def forward(self, x):
        return self.net(x)


def test_a_gradient_stopped_at_the_wrong_side_of_a_frozen_copy_ends_the_search():
    """Bootstrapped training: frozen weights on the one way that is left once made the search go round for ever."""
    model, x = seeded(SlowCopy), torch.randn(32, 8)

    def step(m):
        guess = m.predictor(m(x).detach())
        return 2 - 2 * F.cosine_similarity(guess, m.slow(x.flip(0))).mean()

    found = fadeout.examine(model, step=step, optimizer=torch.optim.Adam(model.predictor.parameters()))
    assert found.verdict == "flows"
    with_all = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    assert fadeout.examine(model, step=step, optimizer=with_all).verdict == "severed"
