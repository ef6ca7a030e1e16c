"""Networks of many kinds, for treatments to be tried on."""

import torch
import torch.nn.functional as F
from torch import nn


def _classes(rows=16, kinds=4):
    return torch.arange(rows) % kinds


def _mlp(act, depth=6):
    layers = [m for _ in range(depth) for m in (nn.Linear(12, 12), act())]
    return nn.Sequential(*layers, nn.Linear(12, 4)), (torch.randn(16, 12), _classes()), F.cross_entropy


class Functional(nn.Module):
    """Activations called in three ways, in a loop."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = F.sigmoid(self.first(x))
        for n, layer in enumerate(self.layers):
            x = torch.tanh(layer(x)) if n % 2 else layer(x).sigmoid()
        return self.head(x)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.head = (nn.Linear(12, 12) for _ in range(3)), None, None, nn.Linear(12, 4)
        self.a = nn.Linear(12, 12)
        self.b = nn.Linear(12, 12)

    def forward(self, x):
        return self.head(torch.relu(self.a(x)) * torch.sigmoid(self.b(x)))


class Block(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(self.norm(x))))


def _residual(norm):
    model = nn.Sequential(nn.Linear(12, 12), *[Block(12, norm) for _ in range(4)], nn.Linear(12, 4))
    return model, (torch.randn(16, 12), _classes()), F.cross_entropy


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(5, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.RNNCell(5, 8), nn.Linear(8, 4)

    def forward(self, x):
        h = x.new_zeros(len(x), 8)
        for step in x.unbind(1):
            h = self.cell(step, h)
        return self.head(h)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 12)
        self.mid = nn.Linear(12, 12)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(torch.relu(self.mid(self.table(x)))).flatten(0, 1)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head, self.act = nn.Linear(12, 12), nn.Linear(12, 4), nn.Sigmoid()

    def forward(self, x):
        for _ in range(3):
            x = self.act(self.layer(x))
        return self.head(x)


def _conv(act, norm=False):
    layers = []
    for a, b in ((3, 8), (8, 8), (8, 8)):
        layers += [nn.Conv2d(a, b, 3, padding=1), *([nn.BatchNorm2d(b)] if norm else []), act()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return model, (torch.randn(16, 3, 8, 8), _classes()), F.cross_entropy


def _encoder(first):
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=first)
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack, self.head = stack, nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.stack(x).mean(1))

    return Head(), (torch.randn(16, 6, 16), _classes()), F.cross_entropy


def _frozen():
    model, batch, loss = _mlp(nn.Sigmoid)
    model[0].requires_grad_(False)
    return model, batch, loss


def _weight_normed():
    model, batch, loss = _mlp(nn.Tanh)
    nn.utils.parametrizations.weight_norm(model[2])
    return model, batch, loss


def _range():
    model = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1), nn.Sigmoid())
    return model, (torch.randn(16, 12) * 30 + 100, torch.randn(16, 1) * 200), F.mse_loss


def _hooked():
    model, batch, loss = _mlp(nn.Sigmoid)
    model[1].register_forward_hook(lambda module, args, out: out * 1.0)
    model[1].register_full_backward_hook(lambda module, given, sent: None)
    return model, batch, loss


MODELS = {
    "sigmoid_mlp": lambda: _mlp(nn.Sigmoid),
    "relu_mlp": lambda: _mlp(nn.ReLU),
    "inplace_relu_mlp": lambda: _mlp(lambda: nn.ReLU(inplace=True)),
    "softplus_mlp": lambda: _mlp(nn.Softplus),
    "functional": lambda: (Functional(), (torch.randn(16, 12), _classes()), F.cross_entropy),
    "gated": lambda: (Gated(), (torch.randn(16, 12), _classes()), F.cross_entropy),
    "residual": lambda: _residual(False),
    "residual_normed": lambda: _residual(True),
    "rnn": lambda: (Recurrent(nn.RNN), (torch.randn(16, 7, 5), _classes()), F.cross_entropy),
    "lstm": lambda: (Recurrent(nn.LSTM), (torch.randn(16, 7, 5), _classes()), F.cross_entropy),
    "gru": lambda: (Recurrent(nn.GRU), (torch.randn(16, 7, 5), _classes()), F.cross_entropy),
    "loop": lambda: (Loop(), (torch.randn(16, 9, 5), _classes()), F.cross_entropy),
    "tied": lambda: (Tied(), (torch.randint(0, 20, (4, 6)), torch.randint(0, 20, (24,))), F.cross_entropy),
    "shared": lambda: (Shared(), (torch.randn(16, 12), _classes()), F.cross_entropy),
    "relu_convnet": lambda: _conv(nn.ReLU),
    "sigmoid_convnet": lambda: _conv(nn.Sigmoid),
    "normed_convnet": lambda: _conv(nn.ReLU, norm=True),
    "post_norm_encoder": lambda: _encoder(False),
    "pre_norm_encoder": lambda: _encoder(True),
    "frozen": _frozen,
    "weight_normed": _weight_normed,
    "off_range": _range,
    "hooked": _hooked,
}


def setup(name):
    """(model, batch, loss), the same every time."""
    torch.manual_seed(0)
    return MODELS[name]()
