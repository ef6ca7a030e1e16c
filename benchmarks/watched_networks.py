"""The networks on which benchmarks/watch.py measures what watching costs."""

import torch
from torch import Tensor, nn


def mlp() -> tuple[nn.Module, Tensor, Tensor]:
    layers: list[nn.Module] = []
    for i in range(50):
        layers += [nn.Linear(64 if i == 0 else 256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(256, 64), torch.randint(0, 10, (256,))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_labels=10, depths=[2, 2, 2, 2], layer_type="basic", hidden_sizes=[32, 64, 128, 256], embedding_size=32
    )

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ResNetForImageClassification(config)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).logits

    return Logits(), torch.randn(16, 3, 96, 96), torch.randint(0, 10, (16,))


class Decoder(nn.Module):
    """The shape of a small GPT."""

    def __init__(self) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(1000, 256), nn.Embedding(128, 256)
        layer = nn.TransformerEncoderLayer(
            256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.blocks, self.head = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), nn.Linear(256, 1000)

    def forward(self, ids: Tensor) -> Tensor:
        ahead = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        stream = self.symbol(ids) + self.place.weight[: ids.shape[1]]
        return self.head(self.blocks(stream, mask=ahead, is_causal=True)).transpose(1, 2)


def decoder() -> tuple[nn.Module, Tensor, Tensor]:
    ids = torch.randint(0, 1000, (4, 128))
    return Decoder(), ids, ids.roll(-1, 1)


def gpt2() -> tuple[nn.Module, Tensor, Tensor]:
    from transformers import GPT2Config, GPT2LMHeadModel

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = GPT2LMHeadModel(GPT2Config(use_cache=False))

        def forward(self, ids: Tensor) -> Tensor:
            return self.net(ids).logits.transpose(1, 2)

    ids = torch.randint(0, 50257, (8, 1024))
    return Logits(), ids, ids.roll(-1, 1)


GPT2 = "GPT-2 124M, bf16, 8 x 1024 tokens"
NETWORKS = {"MLP 50 x 256": mlp, "ResNet, 16 x 96 x 96": resnet, "GPT 6 x 256, 4 x 128 tokens": decoder, GPT2: gpt2}
