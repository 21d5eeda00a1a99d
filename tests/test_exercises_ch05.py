"""Notebook 05's exercises: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.exercises import Status, check

# 05.1: a scaled branch and its skip in one kernel.

Change = Callable[[Tensor, Tensor], None]


def fold_skip(change: Change, bias: bool = True) -> Callable[[nn.Conv2d, Tensor], nn.Conv2d]:
    """Give the answer that changes the copied kernels so, given the scale as (C, 1, 1, 1)."""

    def fold(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
        folded = copy.deepcopy(conv)
        with torch.no_grad():
            change(folded.weight, scale[:, None, None, None])
            if bias and folded.bias is not None:
                folded.bias *= scale
        return folded

    return fold


def scaled(change: Callable[[Tensor], None]) -> Change:
    def both(weight: Tensor, scale: Tensor) -> None:
        weight *= scale
        change(weight)

    return both


def _at_centre(weight: Tensor, amount: Any = 1.0) -> None:
    weight[:, 0, weight.shape[2] // 2, weight.shape[3] // 2] += amount


def _square_centre(weight: Tensor) -> None:
    weight[:, 0, weight.shape[2] // 2, weight.shape[2] // 2] += 1


def _corner(weight: Tensor) -> None:
    weight[:, 0, 0, 0] += 1


def _one_channel(weight: Tensor) -> None:
    weight[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] += 1


def _skip_scaled(weight: Tensor, scale: Tensor) -> None:
    _at_centre(weight)
    weight *= scale


def _one_scale(weight: Tensor, scale: Tensor) -> None:
    weight *= scale[0]
    _at_centre(weight)


def _in_place(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    with torch.no_grad():
        _at_centre(conv.weight)
    return conv


def _in_single(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    return fold_skip(scaled(_at_centre))(conv, scale).float()


def _no_bias(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    folded = fold_skip(scaled(_at_centre))(conv, scale)
    folded.bias = None
    return folded


def _dense(conv: nn.Conv2d, scale: Tensor) -> nn.Conv2d:
    return nn.Conv2d(4, 4, conv.kernel_size, padding=conv.padding, dtype=torch.float64)


# 05.2: all of a norm that is linear, in the Linear.


def fold_norm(weight: Any, bias: Any) -> Callable[[nn.LayerNorm, nn.Linear], nn.Linear]:
    def fold(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
        folded = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype)
        with torch.no_grad():
            folded.weight.copy_(weight(norm, linear))
            folded.bias.copy_(bias(norm, linear))
        return folded

    return fold


def _columns(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return linear.weight * norm.weight


def _less_mean(weight: Tensor) -> Tensor:
    return weight - weight.mean(1, keepdim=True)


def _centred(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return _less_mean(_columns(norm, linear))


def _by_matrices(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    eye = torch.eye(linear.in_features, dtype=linear.weight.dtype)
    return linear.weight @ norm.weight.diag() @ (eye - 1 / linear.in_features)


def _too_early(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return _less_mean(linear.weight) * norm.weight


def _shift(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return 0 if linear.bias is None else linear.bias


def _bias(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return linear.weight @ norm.bias + _shift(norm, linear)


def _folded_first(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return _columns(norm, linear) @ norm.bias + _shift(norm, linear)


def _rows(norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    return linear.weight * torch.linspace(1, 2, linear.out_features)[:, None]


def _single(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    return fold_norm(_centred, _bias)(norm, linear).float()


def _without_bias(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    return nn.Linear(5, 7, bias=False, dtype=torch.float64)


def _linear_in_place(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    with torch.no_grad():
        linear.weight *= norm.weight
    return linear


# 05.3: one block, two sets of names.

NAMES = {"dwconv": "conv_dw", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}


def to_timm(state: dict[str, Any], names: dict[str, str] = NAMES) -> dict[str, Any]:
    renamed = {}
    for key, tensor in state.items():
        stages, i, j, part, *end = key.split(".")
        renamed[".".join([stages, i, "blocks", j, names.get(part, part), *end])] = tensor
    return renamed


def _renamed_in_place(state: dict[str, Any]) -> dict[str, Any]:
    for key, tensor in to_timm(state).items():
        state[key] = tensor
    return state


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {key: tensor + 1 for key, tensor in to_timm(state).items()}


# 05.4: the mixer as an argument.


class Block(nn.Module):
    """The right answer, with slips where asked."""

    def __init__(self, mixer: nn.Module, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.linear1 = nn.Linear(channels, 4 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)

    def feed(self, x: Tensor) -> Tensor:
        return self.linear2(F.gelu(self.linear1(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.feed(self.norm2(x))


def block_that(forward: Callable[[Block, Tensor], Tensor]) -> type[Block]:
    return type("Theirs", (Block,), {"forward": forward})


def _one_skip(b: Block, x: Tensor) -> Tensor:
    return x + b.feed(b.norm2(b.mixer(b.norm1(x))))


def _no_first_skip(b: Block, x: Tensor) -> Tensor:
    x = b.mixer(b.norm1(x))
    return x + b.feed(b.norm2(x))


def _no_second_skip(b: Block, x: Tensor) -> Tensor:
    return b.feed(b.norm2(x + b.mixer(b.norm1(x))))


def _outer_skip(b: Block, x: Tensor) -> Tensor:
    return x + b.feed(b.norm2(x + b.mixer(b.norm1(x))))


def _norm_last(b: Block, x: Tensor) -> Tensor:
    x = b.norm1(x + b.mixer(x))
    return b.norm2(x + b.feed(x))


def _no_gelu(b: Block, x: Tensor) -> Tensor:
    x = x + b.mixer(b.norm1(x))
    return x + b.linear2(b.linear1(b.norm2(x)))


def _relu(b: Block, x: Tensor) -> Tensor:
    x = x + b.mixer(b.norm1(x))
    return x + b.linear2(torch.relu(b.linear1(b.norm2(x))))


def _tanh(b: Block, x: Tensor) -> Tensor:
    x = x + b.mixer(b.norm1(x))
    return x + b.linear2(F.gelu(b.linear1(b.norm2(x)), approximate="tanh"))


def _raw_mixer(b: Block, x: Tensor) -> Tensor:
    x = x + b.mixer(x)
    return x + b.feed(b.norm2(x))


def _raw_feed(b: Block, x: Tensor) -> Tensor:
    x = x + b.mixer(b.norm1(x))
    return x + b.feed(x)


class OneNorm(Block):
    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__(mixer, channels)
        self.norm2 = self.norm1


class Narrow(Block):
    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__(mixer, channels)
        self.linear1, self.linear2 = nn.Linear(channels, 16), nn.Linear(16, channels)


class Plain(Block):
    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__(mixer, channels)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6, bias=False)


class Three(Block):
    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__(mixer, channels)
        self.out = nn.Linear(channels, channels)


class Sequential(nn.Module):
    """A right answer of another make: its mixer comes first, its feed-forward is one module."""

    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__()
        self.mixer = mixer
        self.norms = nn.ModuleList(nn.LayerNorm(channels, eps=1e-6) for _ in range(2))
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


WRONG = {
    "05.1": [
        (fold_skip(lambda weight, scale: None), "neither the scale nor the skip"),
        (fold_skip(scaled(lambda weight: None)), "the skip is missing"),
        (fold_skip(lambda weight, scale: _at_centre(weight)), "the scale is missing"),
        (fold_skip(_skip_scaled), "You scaled the skip as well"),
        (fold_skip(scaled(lambda weight: weight.add_(1))), "every entry of the kernel"),
        (fold_skip(scaled(_square_centre)), r"centre is \(1, 2\)|raised IndexError"),
        (fold_skip(scaled(_corner)), r"the 1 at \(0, 0\), and its centre is \(1, 1\)"),
        (fold_skip(scaled(_one_channel)), "add 1 to each kernel"),
        (fold_skip(scaled(lambda weight: _at_centre(weight, 2.0))), "add 1 to each kernel"),
        (fold_skip(_one_scale), "one s for a channel"),
        (_in_place, "You changed what you were given"),
        (fold_skip(scaled(_at_centre), bias=False), "look at the bias"),
        (_no_bias, "look at the bias"),
        (_dense, "another shape"),
        (lambda conv, scale: nn.Sequential(conv), "yours is a Sequential"),
        (lambda conv, scale: nn.Conv2d(4, 4, 3, groups=4).double(), "should have shape"),
        (lambda conv, scale: None, "returned None"),
    ],
    "05.2": [
        (lambda norm, linear: linear, "the norm's weight and|needs a bias"),
        (fold_norm(lambda n, one: one.weight, _bias), "the norm's weight and the mean"),
        (fold_norm(_columns, _bias), "still has its mean"),
        (fold_norm(lambda n, one: _less_mean(one.weight), _bias), "weight is not in it"),
        (fold_norm(_too_early, _bias), "before you multiplied by g"),
        (fold_norm(lambda *g: _columns(*g) - _columns(*g).mean(0), _bias), "mean of each column"),
        (fold_norm(lambda *g: _columns(*g) - _columns(*g).mean(), _bias), "the whole weight"),
        (fold_norm(_rows, _bias), "a column, not a row"),
        (fold_norm(_centred, _shift), "is the Linear's own"),
        (fold_norm(_centred, _folded_first), "multiplied the norm.s bias by a folded"),
        (fold_norm(_centred, lambda n, one: one.weight @ n.bias - 1), "should be W b \\+ c"),
        (_without_bias, "needs a bias"),
        (_linear_in_place, "You changed what you were given"),
        (lambda norm, linear: nn.Linear(7, 5), "Its weight has shape"),
        (lambda norm, linear: linear.weight, "yours is a Parameter"),
    ],
    "05.3": [
        (lambda state: dict(state), "should become 'stages.0.blocks.0.gamma'"),
        (lambda state: to_timm(state, {}), "with you it is 'stages.0.blocks.0.dwconv.weight'"),
        (lambda state: {}, "with you it is 'gone'"),
        (
            lambda state: to_timm(state, NAMES | {"pwconv1": "mlp.fc2", "pwconv2": "mlp.fc1"}),
            "holds another tensor",
        ),
        (lambda state: to_timm(state) | {"more": 1}, "'more' is no key"),
        (_renamed_in_place, "You changed the dict"),
        (_copied, "holds another tensor"),
        (lambda state: list(state), "yours is a list"),
    ],
    "05.4": [
        (block_that(_one_skip), "ConvNeXt's wiring, one skip"),
        (block_that(_no_first_skip), "no skip around the mixer"),
        (block_that(_no_second_skip), "no skip around the feed-forward"),
        (block_that(_outer_skip), "The second skip carries the block's input"),
        (block_that(_norm_last), "as in the paper of 2017"),
        (block_that(_no_gelu), "GELU between the two Linears is missing"),
        (block_that(_relu), "This is ReLU"),
        (block_that(_tanh), "tanh approximation"),
        (block_that(_raw_mixer), "The mixer gets the tokens without a norm"),
        (block_that(_raw_feed), "The feed-forward gets the tokens without a norm"),
        (block_that(lambda b, x: 2 * Block.forward(b, x)), "Compare half by half"),
        (block_that(lambda b, x: x[:, :1]), "should have shape"),
        (block_that(lambda b, x: [x]), "yours is a list"),
        (lambda mixer, channels: Block(mixer, channels, eps=1e-5), "eps 1e-05; pass eps=1e-6"),
        (lambda mixer, channels: Block(nn.Identity(), channels), "The mixer is not in your module"),
        (lambda mixer, channels: mixer, "two nn.LayerNorm"),
        (OneNorm, "two nn.LayerNorm, one before each half; yours has 1"),
        (Three, "two nn.Linear, outside the mixer; yours has 3"),
        (Narrow, "from C to 4C"),
        (Plain, "with weight and bias"),
        (lambda mixer, channels: mixer.forward, "Expected an nn.Module"),
    ],
    "05.5": [
        ({"b"}, "there is more"),
        ({"a", "d"}, "Statement a is true"),
        ("c and e", "Statement c is true.*Statement e is true"),
        ({"x"}, "no statement x"),
        (3, "as a set"),
    ],
}

RIGHT = {
    "05.1": [fold_skip(scaled(_at_centre)), _in_single],
    "05.2": [fold_norm(_centred, _bias), fold_norm(_by_matrices, _bias), _single],
    "05.3": [to_timm, lambda state: {key: one.clone() for key, one in to_timm(state).items()}],
    "05.4": [Block, Sequential],
    "05.5": [{"b", "d"}, "bd", "b, d", ["(B)", "D."], ("d", "b")],
}


def test_an_empty_set_is_no_attempt() -> None:
    assert check("05.5", set()).status is Status.NOT_ATTEMPTED
