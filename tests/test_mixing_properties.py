"""`helpers.mixing` on layers nobody chose, and on everything a caller can get wrong.

The lift is held against the layer itself, against `matrix_by_probing` (which reads no weights) and,
for depthwise convolutions, against its own second view; probing is held against autograd. All in
float64 to 1e-12, normwise: largest difference over largest value.
"""

from __future__ import annotations

import math
import warnings

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from hypothesis import given, settings
from torch import Tensor, nn

from helpers import tokens as tokens_module
from helpers.equivalence import normwise_difference
from helpers.mixing import (
    Mixing,
    as_mixing,
    from_tokens,
    matrix_by_probing,
    register_lift,
    to_tokens,
)

TOLERANCE = 1e-12
MODES = ("zeros", "circular", "reflect", "replicate")

random_cases = settings(derandomize=True, deadline=None, max_examples=300, database=None)

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(left: Tensor, right: Tensor) -> None:
    assert left.dtype == right.dtype
    assert normwise_difference(left, right) <= TOLERANCE


# --- random layers -------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn, depthwise: bool = False) -> tuple[nn.Module, Tensor]:
    """Draw a Conv1d or Conv2d with everything an argument can say, and an input it takes."""
    axes = draw(st.sampled_from([1, 2]))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, dilation = per_axis(1, 5), per_axis(1, 2)
    padding = draw(st.sampled_from(["numbers", "numbers", "same", "valid"]))
    stride = (1,) * axes if padding == "same" else per_axis(1, 3)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sides = [(0, 0)] * axes
    if padding == "same":
        sides = [((r - 1) // 2, r - 1 - (r - 1) // 2) for r in reach]
    elif padding == "numbers":
        padding = per_axis(0, 3)
        sides = [(p, p) for p in padding]
    mode = draw(st.sampled_from(MODES))
    # The least image that this kernel, padding and mode take; kernels may be larger than it.
    least = {"reflect": 1, "circular": 0}.get(mode)
    sizes = []
    for r, side in zip(reach, sides, strict=True):
        low = max(1, r - sum(side), 0 if least is None else max(side) + least)
        sizes.append(draw(st.integers(low, low + 4)))
    groups = draw(st.integers(1, 4))
    c_in = groups if depthwise else groups * draw(st.integers(1, 3))
    c_out = groups * draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 99)))
    layer = (nn.Conv1d if axes == 1 else nn.Conv2d)(
        c_in, c_out, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups,
        bias=draw(st.booleans()), padding_mode=mode, dtype=torch.float64,
    )  # fmt: skip
    return layer, torch.randn(draw(st.integers(1, 3)), c_in, *sizes, dtype=torch.float64)


def check_lift(layer: nn.Module, x: Tensor, layout: str, mixing: Mixing) -> None:
    """Hold a lift against the layer, at the input it was lifted at and at another batch."""
    other = torch.randn(x.shape[0] + 1, *x.shape[1:], dtype=x.dtype)
    with torch.no_grad():
        for image in (x, other):
            y = layer(image)
            assert_same(mixing(to_tokens(image, layout)), to_tokens(y, layout))
    assert mixing.grid_in == tokens_module.grid_of(x, layout)
    assert mixing.grid_out == tokens_module.grid_of(y, layout)
    assert_same(mixing.matrix(), matrix_by_probing(layer, x, layout=layout))
    weights = sum(p.numel() for name, p in layer.named_parameters() if name != "bias")
    assert mixing.learned_weights == weights
    assert not mixing.depends_on_input
    assert not any(t.requires_grad for t in (mixing.token, mixing.channel, mixing.bias))


@random_cases
@given(convolutions())
def test_convolution(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    mixing = as_mixing(layer, x, view="shifts")
    check_lift(layer, x, "channels_first", mixing)
    assert mixing.heads == math.prod(layer.kernel_size)
    assert set(mixing.token.unique().tolist()) <= {0.0, 1.0}
    assert mixing.learned_token == 0
    if layer.groups != layer.in_channels:
        assert_same(as_mixing(layer, x).matrix(), mixing.matrix())
        with pytest.raises(ValueError, match="is not depthwise"):
            as_mixing(layer, x, view="heads")


@random_cases
@given(convolutions(depthwise=True))
def test_depthwise_convolution_has_two_views(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    heads, shifts = as_mixing(layer, x, view="heads"), as_mixing(layer, x, view="shifts")
    check_lift(layer, x, "channels_first", heads)
    assert_same(heads.matrix(), shifts.matrix())
    assert_same(as_mixing(layer, x).token, heads.token)  # the default view
    assert heads.heads == layer.out_channels
    assert heads.nonzeros("channel") == layer.out_channels
    assert heads.learned_channel == 0


@random_cases
@given(
    grid=st.lists(st.integers(1, 4), max_size=3),
    layout=st.sampled_from(tokens_module.LAYOUTS),
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    bias=st.booleans(),
)
def test_linear_and_identity(
    grid: list[int], layout: str, sizes: tuple[int, ...], bias: bool
) -> None:
    batch, channels, last, features = sizes
    x = double(batch, channels, *grid, last)
    linear = nn.Linear(last, features, bias=bias, dtype=torch.float64)
    mixing = as_mixing(linear, x, layout=layout)
    # With a width, a channels-first Linear keeps the channels and mixes tokens: b for each token.
    check_lift(linear, x, layout, mixing)
    along_width = layout == "channels_first"
    assert mixing.learned_token == (linear.weight.numel() if along_width else 0)
    assert mixing.bias.shape[0] == (mixing.n_out if along_width else 1)
    for same in (nn.Identity(), nn.Dropout(0.5).eval(), nn.Dropout(0.0)):
        check_lift(same, x, layout, as_mixing(same, x, layout=layout))


def test_one_vector_is_one_token_in_either_layout() -> None:
    x, linear = double(3, 5), nn.Linear(5, 2).double()
    for layout in tokens_module.LAYOUTS:
        mixing = as_mixing(linear, x, layout=layout)
        assert (mixing.n_in, mixing.c_in, mixing.c_out) == (1, 5, 2)
        assert mixing.grid_in == mixing.grid_out == ()
        check_lift(linear, x, layout, mixing)


@random_cases
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.sampled_from(tokens_module.LAYOUTS))
def test_tokens_and_back(shape: list[int], layout: str) -> None:
    x = double(*shape)
    tokens = to_tokens(x, layout)
    assert torch.equal(from_tokens(tokens, tokens_module.grid_of(x, layout), layout), x)
    if layout == "channels_first" and x.dim() > 2:
        assert torch.equal(tokens, x.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_the_layers(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(2, 4, 3, padding=1, groups=2).to(dtype)
    x = torch.randn(1, 2, 4, 4).to(dtype)
    for view in ("heads", "shifts"):
        mixing = as_mixing(conv, x, view=view)
        assert {mixing.token.dtype, mixing.channel.dtype, mixing.bias.dtype} == {dtype}
        difference = normwise_difference(mixing.matrix(), matrix_by_probing(conv, x))
        assert difference <= 4 * torch.finfo(dtype).eps


def test_gradients_reach_the_tokens() -> None:
    conv, image = nn.Conv2d(2, 3, 3, padding=1).double(), double(1, 2, 4, 4)
    mixing = as_mixing(conv, image)
    image.requires_grad_()
    (through_layer,) = torch.autograd.grad(conv(image).pow(2).sum(), image)
    (through_lift,) = torch.autograd.grad(mixing(to_tokens(image)).pow(2).sum(), image)
    assert_same(through_lift, through_layer)


def test_training_the_layer_does_not_change_the_lift() -> None:
    x = double(1, 3, 4)
    for layer in (nn.Linear(4, 2).double(), nn.Conv1d(3, 3, 1, groups=3).double()):
        mixing = as_mixing(layer, x)
        before = [t.clone() for t in (mixing.token, mixing.channel, mixing.bias)]
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(1)
        after = (mixing.token, mixing.channel, mixing.bias)
        assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrized_layers(name: str) -> None:
    parametrize = getattr(nn.utils.parametrizations, name)
    conv = parametrize(nn.Conv2d(3, 4, 3, padding=1).double()).eval()
    x = double(2, 3, 4, 5)
    for layer, layout in ((conv, None), (parametrize(nn.Linear(5, 5).double()).eval(), None)):
        mixing = as_mixing(layer, x, layout=layout)
        assert_same(mixing.matrix(), matrix_by_probing(layer, x))


@pytest.mark.parametrize("view", ["heads", "shifts"])
def test_views_of_a_stride_two_depthwise_by_hand(view: str) -> None:
    conv = nn.Conv1d(1, 1, 3, stride=2, padding=1, bias=False)
    conv.weight.data = torch.tensor([[[1.0, 2.0, 3.0]]])
    by_hand = [[2.0, 3.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]]  # not flipped: cross-correlation
    assert as_mixing(conv, torch.zeros(1, 1, 4), view=view).matrix().tolist() == by_hand


def test_operator_of_a_known_convolution_is_counted_right() -> None:
    conv = nn.Conv2d(16, 24, 3, padding=1).double()
    mixing = as_mixing(conv, double(1, 16, 14, 14))
    # 14 x 3 taps along an axis, 2 of them in the padding; squared for two axes.
    assert mixing.nonzeros() == (14 * 3 - 2) ** 2 * 16 * 24
    assert mixing.learned_weights == 3456
    depthwise = as_mixing(nn.Conv2d(8, 8, 7, padding=3, groups=8), torch.zeros(1, 8, 10, 10))
    assert depthwise.nonzeros("token") == 8 * 3364
    assert len(depthwise.token[0, 0].unique()) == 49 + 1  # and zero


# --- an A that was computed from the input -------------------------------------------------------


class SelfSimilarity(nn.Module):
    """softmax(X X^T) X: the least attention there is."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x @ x.transpose(1, 2), -1) @ x


@register_lift(SelfSimilarity)
def _lift_self_similarity(layer, x, *, view, layout):
    token = torch.softmax(x @ x.transpose(1, 2), -1)[:, None]
    eye = torch.eye(x.shape[2], dtype=x.dtype)[None]
    grid = (x.shape[1],)
    return Mixing(token, eye, x.new_zeros(1, x.shape[2]), grid, grid, depends_on_input=True)


def test_input_dependent_lift_is_frozen_at_its_input() -> None:
    layer, x = SelfSimilarity(), double(3, 4, 2)
    mixing = as_mixing(layer, x)
    assert_same(mixing(x), layer(x))
    assert not torch.equal(mixing.matrix(0), mixing.matrix(2))
    for sample in range(3):
        one = mixing.matrix(sample) @ x[sample].flatten()
        assert_same(one.view(4, 2), layer(x)[sample])
        assert_same(mixing.row(1, sample=sample), mixing.token[sample, 0, 1])
    assert "computed from the input: frozen here at 3 samples" in repr(mixing)
    assert "frozen here at 1 sample\n" in repr(as_mixing(layer, x[:1]))
    for other in (x[:1], x[:2], torch.cat([x, x])):
        with pytest.raises(ValueError, match=r"frozen for the 3 it was lifted at"):
            mixing(other)
    with pytest.raises(IndexError, match=r"sample=3: this lift holds the A of samples 0 to 2\.$"):
        mixing.matrix(3)
    # Frozen at one sample, it does not spread over a batch either.
    with pytest.raises(ValueError, match="got a batch of 3"):
        as_mixing(layer, x[:1])(x)


# --- probing -------------------------------------------------------------------------------------


def jacobian(f, x: Tensor, layouts: tuple[str, str]) -> Tensor:
    """Give the matrix by autograd, at a random point: another oracle for the oracle."""
    grid = tokens_module.grid_of(x, layouts[0])
    point = to_tokens(double(1, *x.shape[1:], seed=5), layouts[0])

    def on_flat(flat: Tensor) -> Tensor:
        return to_tokens(
            f(from_tokens(flat.view_as(point), grid, layouts[0])), layouts[1]
        ).flatten()

    return torch.autograd.functional.jacobian(on_flat, point.flatten())


FIRST, LAST = "channels_first", "channels_last"

AFFINE = {
    "pooling": (nn.AvgPool2d(2, ceil_mode=True), (2, 3, 5, 4), FIRST),
    "adaptive pooling": (nn.AdaptiveAvgPool2d((2, 3)), (1, 2, 5, 7), FIRST),
    "batch norm in eval": (
        nn.Sequential(nn.BatchNorm2d(3, dtype=torch.float64), nn.Conv2d(3, 2, 1)),
        (2, 3, 4, 4),
        FIRST,
    ),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), (1, 3, 3, 2), FIRST),
    "3-d": (nn.Conv3d(2, 3, 2, padding=1), (1, 2, 2, 3, 2), FIRST),
    "separable": (
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 6, 1)),
        (2, 4, 4, 3),
        FIRST,
    ),
    "upsampling": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3), FIRST),
    "pixel shuffle": (nn.PixelShuffle(2), (1, 8, 2, 3), FIRST),
    "padding": (nn.ReflectionPad1d(2), (1, 2, 4), FIRST),
    "flatten": (nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 5)), (2, 2, 3, 3),
                FIRST),
    "linear stack": (nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (2, 4, 3), LAST),
    "bilinear form": (nn.Sequential(nn.Unflatten(-1, (2, 3)), nn.Flatten(-2)), (2, 5, 6), LAST),
    "roll": (lambda t: t.roll(1, 1) - 2 * t.flip(1), (2, 5, 3), LAST),
    "cumulative sum": (lambda t: t.cumsum(1), (3, 5, 2), LAST),
    "Fourier": (lambda t: torch.fft.rfft(t, dim=1).imag, (1, 6, 2), LAST),
    "constant": (lambda t: torch.full_like(t, 3), (2, 4, 2), LAST),
    "zero": (lambda t: 0 * t, (2, 4, 2), LAST),
    "pooler": (lambda t: t.mean(1), (2, 4, 3), LAST),
}  # fmt: skip


@pytest.mark.parametrize("name", AFFINE)
def test_probing_against_autograd(name: str) -> None:
    torch.manual_seed(0)
    f, shape, layout = AFFINE[name]
    x = double(*shape)
    if isinstance(f, nn.Module):
        f = f.double()
        for buffer_name, buffer in f.named_buffers():
            if "running" in buffer_name:
                buffer.copy_(torch.rand_like(buffer) + 0.5)
        f.eval()
    kept = x.clone()
    matrix = matrix_by_probing(f, x)  # the default layout is the one in the table
    assert_same(matrix, jacobian(f, x, (layout, layout)))
    assert torch.equal(x, kept)
    assert not matrix.requires_grad


def test_probing_with_a_layout_for_each_side() -> None:
    block = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(2)).double()
    x = double(1, 2, 3, 4)

    def to_channels_last(image: Tensor) -> Tensor:
        return block(image).transpose(1, 2)

    matrix = matrix_by_probing(to_channels_last, x, layout=(FIRST, LAST))
    assert_same(matrix, as_mixing(block[0], x).matrix())


def test_probing_a_function_that_writes_into_its_input() -> None:
    x = double(2, 4, 3)
    kept = x.clone()
    assert torch.equal(matrix_by_probing(lambda t: t.mul_(2), x), 2 * torch.eye(12).double())
    assert torch.equal(x, kept)


def test_probing_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = nn.Conv2d(2, 3, 3, padding=1).double(), double(1, 2, 3, 4)
    whole = matrix_by_probing(conv, x)
    for entries in (1, 100, 7 * 36):
        monkeypatch.setattr("helpers.probing.CHUNK_ENTRIES", entries)
        assert torch.equal(matrix_by_probing(conv, x), whole)


def test_probing_leaves_module_and_random_numbers_alone() -> None:
    norm = nn.BatchNorm1d(3).double()
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="another answer when it comes in another batch"):
        matrix_by_probing(norm, double(4, 3, 5))
    matrix_by_probing(nn.Identity(), double(1, 2, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


def one_hot_is_special(t: Tensor) -> Tensor:
    """Act linearly on everything but unit vectors."""
    unit = (t.abs().sum((1, 2), keepdim=True) == 1) & (t.abs().amax((1, 2), keepdim=True) == 1)
    return torch.where(unit, 5 * t, t)


def curved_in_one_place(t: Tensor) -> Tensor:
    return torch.cat([t.flatten(1)[:, :11], t.flatten(1)[:, 11:] ** 2], 1).view_as(t)


NOT_AFFINE = {
    "ReLU": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "almost linear": nn.LeakyReLU(0.99),
    "GELU": nn.GELU(),
    "tanh": nn.Tanh(),
    "clips what is large": nn.Hardtanh(-60, 60),
    "drops what is small": nn.Softshrink(1e-3),
    "softmax": nn.Softmax(-1),
    "LayerNorm": nn.LayerNorm(3),
    "RMSNorm": nn.RMSNorm(3),
    "GroupNorm": nn.GroupNorm(2, 4),
    "InstanceNorm": nn.InstanceNorm1d(4),
    "max pooling": nn.MaxPool1d(2),
    "gate": nn.GLU(1),
    "feed-forward": nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 3)),
    "attention": SelfSimilarity(),
    "even": lambda t: t.abs(),
    "square": lambda t: t * t,
    "steps": lambda t: t.round(),
    "sorted": lambda t: t.sort(1).values,
    "degree one, not additive": lambda t: t.norm(dim=1, keepdim=True) + 0 * t,
    "odd and of degree one": lambda t: (
        (t**3).sum(1, keepdim=True).sign() * (t**3).sum(1, keepdim=True).abs() ** (1 / 3)
    ),
    "special unit vectors": one_hot_is_special,
    "curved in one place": curved_in_one_place,
}


@pytest.mark.parametrize("name", NOT_AFFINE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_probing_refuses_what_is_not_affine(name: str, dtype: torch.dtype) -> None:
    f = NOT_AFFINE[name]
    f = f.to(dtype) if isinstance(f, nn.Module) else f
    with pytest.raises(ValueError, match=r"is not linear: .* at token \d+, channel \d"):
        matrix_by_probing(f, torch.zeros(2, 4, 3, dtype=dtype))


def test_probing_sees_a_bend_of_one_in_a_hundred_million_in_float64() -> None:
    with pytest.raises(ValueError, match="is not linear"):
        matrix_by_probing(nn.LeakyReLU(1 - 1e-8), double(2, 4, 3))


def test_probing_says_where() -> None:
    with pytest.raises(ValueError, match="at token 3, channel 2 "):
        matrix_by_probing(curved_in_one_place, double(1, 4, 3))


class Counter(nn.Module):
    """Adds how often it was called: a state that is no buffer."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


BAD_FUNCTIONS = {
    "random": (lambda t: t + torch.rand(1, dtype=t.dtype), "two answers to one input"),
    "functional dropout": (lambda t: F.dropout(t, 0.5, training=True), "two answers to one input"),
    "state": (Counter(), "Counter gives two answers to one input"),
    "dropout": (nn.Dropout(0.1), r"Dropout is active \(training mode, p = 0.1\)"),
    "dropout inside": (nn.Sequential(nn.Identity(), nn.Dropout()), "Dropout at '1' is active"),
    "across samples": (lambda t: t - t.mean(0), "another answer when it comes in another batch"),
    "rolls the batch": (lambda t: t.roll(1, 0), "another answer when it comes in another batch"),
    "shape by batch": (
        lambda t: t[:, : 1 if len(t) == 1 else 2],
        "another answer when it comes in another batch",
    ),
    "fixed batch": (lambda t: t.reshape(2, 4, 3), "f fails on an input of shape"),
    "loses the batch": (lambda t: t.sum(0), "expected the batch"),
    "scalar": (lambda t: t.sum(), "expected the batch"),
    "one axis": (lambda t: t.sum((1, 2)), "expected the batch"),
    "tuple": (lambda t: (t, t), "f returns type tuple"),
    "integers": (lambda t: t.long(), "f returns dtype torch.int64"),
    "empty": (lambda t: t[:, :0], "nothing left"),
    "infinite": (lambda t: t / 0, "gives a NaN or an infinity"),
    "wrong shape": (nn.Linear(7, 2).double(), "Linear fails on an input of shape"),
    "wrong dtype": (nn.Linear(3, 2), "Linear fails on an input of shape"),
}


@pytest.mark.parametrize("name", BAD_FUNCTIONS)
def test_probing_names_what_is_wrong_with_the_function(name: str) -> None:
    f, message = BAD_FUNCTIONS[name]
    with pytest.raises(ValueError, match=message):
        matrix_by_probing(f, double(2, 4, 3))


@pytest.mark.parametrize(
    ("f", "x", "layout", "error", "message"),
    [
        (3, double(1, 2), None, TypeError, "f has type int"),
        (nn.Identity(), [1.0], None, TypeError, "x has type list: expected a torch.Tensor"),
        (nn.Identity(), double(2), None, ValueError, "at least two axes"),
        (nn.Identity(), double(1, 2).long(), None, TypeError, "torch.int64: expected real"),
        (nn.Identity(), double(1, 2), "NCHW", ValueError, "layout='NCHW': expected"),
        (nn.Identity(), double(1, 2), (FIRST,), ValueError, "or a pair"),
        (nn.Identity(), double(1, 2) / 0, None, ValueError, "a NaN or an infinity"),
        (nn.Identity(), double(1, 100, 100), None, ValueError, "10,000 x 10,000 .* 763 MiB"),
    ],
)
def test_probing_names_what_is_wrong_with_its_arguments(f, x, layout, error, message) -> None:
    with pytest.raises(error, match=message):
        matrix_by_probing(f, x, layout=layout)


# --- what a caller of as_mixing can get wrong ----------------------------------------------------


IMAGE = torch.randn(2, 3, 6, 5)
CONV = nn.Conv2d(3, 4, 3)


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised on the way: `as_mixing` cannot know."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), True), self.bias)


class StandardisedBelow(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), True), bias)


def patched() -> nn.Module:
    layer = nn.Linear(5, 5)
    layer.forward = lambda x: 2 * x
    return layer


def hooked(kind: str) -> nn.Module:
    layer = nn.Linear(5, 5)
    getattr(layer, kind)(lambda module, *args: None)
    return layer


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Conv2d(3, 3, 3))


def pruned() -> nn.Module:
    layer = nn.Linear(5, 5)
    nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    return layer


def reflect() -> nn.Module:
    return nn.Conv2d(3, 4, 3, padding=6, padding_mode="reflect")


BAD_CALLS = {
    "function": (lambda: as_mixing(F.relu, IMAGE), TypeError, "expected an nn.Module"),
    "array": (lambda: as_mixing(CONV, IMAGE.numpy()), TypeError, "x has type ndarray"),
    "no batch": (lambda: as_mixing(CONV, IMAGE[0]), ValueError, r"takes 4 axes.*x\[None\]"),
    "too many axes": (lambda: as_mixing(CONV, IMAGE[None]), ValueError, "takes 4 axes"),
    "no batch, 1-d": (
        lambda: as_mixing(nn.Conv1d(3, 4, 1), IMAGE[0, 0]),
        ValueError,
        r"takes 3 axes, \(batch, channels, length\)",
    ),
    "vector": (lambda: as_mixing(CONV, IMAGE[0, 0, 0]), ValueError, "at least two axes"),
    "channels": (lambda: as_mixing(CONV, IMAGE[:, :2]), ValueError, r"has 2 channels, not 3\.$"),
    "channels last": (
        lambda: as_mixing(CONV, IMAGE.movedim(1, -1)),
        ValueError,
        r"not 3\. If the channels are on the last axis: x\.movedim\(-1, 1\)",
    ),
    "features": (lambda: as_mixing(nn.Linear(4, 2), IMAGE), ValueError, r"5 entries, not 4\.$"),
    "features first": (
        lambda: as_mixing(nn.Linear(3, 2), IMAGE),
        ValueError,
        r"If the channels are on axis 1: x\.movedim\(1, -1\)",
    ),
    "integers": (lambda: as_mixing(CONV, IMAGE.int()), TypeError, "torch.int32: expected real"),
    "complex": (lambda: as_mixing(CONV, IMAGE.cfloat()), TypeError, "torch.complex64: expected"),
    "dtype": (lambda: as_mixing(CONV, IMAGE.double()), ValueError, "Conv2d.weight has torch.fl"),
    "device": (
        lambda: as_mixing(nn.Linear(5, 5, device="meta"), IMAGE),
        ValueError,
        "Linear.weight has torch.float32 on meta",
    ),
    "empty batch": (lambda: as_mixing(CONV, IMAGE[:0]), ValueError, "axis 0 is empty"),
    "empty width": (lambda: as_mixing(CONV, IMAGE[..., :0]), ValueError, "axis 3 is empty"),
    "not finite": (lambda: as_mixing(CONV, IMAGE / 0), ValueError, "a NaN or an infinity"),
    "kernel too large": (
        lambda: as_mixing(nn.Conv2d(3, 4, 9), IMAGE),
        ValueError,
        r"does not take x of shape \(2, 3, 6, 5\): .*Kernel size",
    ),
    "padding too large": (lambda: as_mixing(reflect(), IMAGE), ValueError, "Padding size should"),
    "view": (lambda: as_mixing(CONV, IMAGE, view="rows"), ValueError, "expected 'heads' or 'shi"),
    "heads of a dense conv": (
        lambda: as_mixing(CONV, IMAGE, view="heads"),
        ValueError,
        r"not depthwise \(groups = 1, in_channels = 3\).*no one A serves them",
    ),
    "heads of a grouped conv": (
        lambda: as_mixing(nn.Conv2d(4, 4, 1, groups=2), torch.zeros(1, 4, 2, 2), view="heads"),
        ValueError,
        r"not depthwise \(groups = 2, in_channels = 4\)",
    ),
    "view of a Linear": (
        lambda: as_mixing(nn.Linear(5, 5), IMAGE, view="heads"),
        ValueError,
        "view='heads': Linear has one reading",
    ),
    "view of an Identity": (
        lambda: as_mixing(nn.Identity(), IMAGE, view="shifts"),
        ValueError,
        "Identity has one reading",
    ),
    "layout": (lambda: as_mixing(CONV, IMAGE, layout="NHWC"), ValueError, "layout='NHWC'"),
    "layout of a conv": (
        lambda: as_mixing(CONV, IMAGE, layout="channels_last"),
        ValueError,
        "always reads .batch, channels, height, width.",
    ),
    "large shifts": (
        lambda: as_mixing(CONV, torch.zeros(1, 3, 64, 64)),
        ValueError,
        r"A of 9 x 3,844 x 4,096 .* would take 541 MiB, more than the 256 MiB allowed: make the",
    ),
    "large heads": (
        lambda: as_mixing(nn.Conv2d(96, 96, 7, padding=3, groups=96), torch.zeros(1, 96, 56, 56)),
        ValueError,
        "A of 96 x 3,136 x 3,136",
    ),
    "large Identity": (
        lambda: as_mixing(nn.Identity(), torch.zeros(1, 100, 100, 1)),
        ValueError,
        r"as_mixing\(Identity\(\)\): A of 1 x 10,000 x 10,000",
    ),
    "large Linear": (
        lambda: as_mixing(nn.Linear(1, 1), torch.zeros(1, 100, 100, 1)),
        ValueError,
        "A of 1 x 10,000 x 10,000",
    ),
    "large Linear along the width": (
        lambda: as_mixing(nn.Linear(100, 90), torch.zeros(1, 1, 99, 100), layout=FIRST),
        ValueError,
        "A of 1 x 8,910 x 9,900",
    ),
    "active dropout": (
        lambda: as_mixing(nn.Dropout(0.2), IMAGE),
        ValueError,
        r"Dropout is active \(training mode, p = 0.2\).*\.eval\(\)",
    ),
    "active dropout inside": (
        lambda: as_mixing(nn.Sequential(CONV, nn.Dropout2d()), IMAGE),
        ValueError,
        "Dropout2d at '1' is active",
    ),
    "ReLU": (
        lambda: as_mixing(nn.ReLU(), IMAGE),
        TypeError,
        "ReLU cannot be lifted: it is not linear in X.*Lift the Linear or convolution layers",
    ),
    "feed-forward": (
        lambda: as_mixing(nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 5)), IMAGE),
        TypeError,
        r"Sequential cannot be lifted.*parts can be lifted: '0' \(Linear\), '2' \(Linear\)\.",
    ),
    "many parts": (
        lambda: as_mixing(nn.Sequential(*[nn.Linear(5, 5) for _ in range(6)], nn.ReLU()), IMAGE),
        TypeError,
        r"'3' \(Linear\) and 2 more\.",
    ),
    "linear, unknown": (
        lambda: as_mixing(nn.ConvTranspose2d(3, 4, 2), IMAGE),
        TypeError,
        "as_mixing has no lift for ConvTranspose2d. It is linear in X, though.*matrix_by_probing",
    ),
    "fails": (
        lambda: as_mixing(nn.Bilinear(5, 5, 5), IMAGE),
        TypeError,
        "no lift for Bilinear. Bilinear fails on an input of shape",
    ),
    "batch norm": (
        lambda: as_mixing(nn.BatchNorm2d(3), IMAGE),
        TypeError,
        "no lift for BatchNorm2d.*another batch",
    ),
    "linear composite": (
        lambda: as_mixing(nn.Sequential(CONV, nn.Conv2d(4, 2, 1)), IMAGE),
        TypeError,
        r"no lift for Sequential. It is linear in X.*parts can be lifted: '0' \(Conv2d\), '1'",
    ),
    "restless weights": (
        lambda: as_mixing(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 64, 5)), IMAGE),
        ValueError,
        r"ParametrizedConv2d\.weight is parametrized and changes with every call",
    ),
    "lazy": (lambda: as_mixing(nn.LazyConv2d(3, 3), IMAGE), ValueError, "LazyConv2d has no weig"),
    "lazy inside": (
        lambda: as_mixing(nn.Sequential(nn.LazyLinear(3)), IMAGE),
        ValueError,
        "Sequential has no weights yet",
    ),
    "own forward": (
        lambda: as_mixing(Standardised(3, 4, 3), IMAGE),
        TypeError,
        "Standardised has a forward of its own.*something else than Conv2d",
    ),
    "own _conv_forward": (
        lambda: as_mixing(StandardisedBelow(3, 4, 3), IMAGE),
        TypeError,
        "a _conv_forward of its own",
    ),
    "patched forward": (lambda: as_mixing(patched(), IMAGE), TypeError, "Linear has a forward of"),
    "forward hook": (
        lambda: as_mixing(hooked("register_forward_hook"), IMAGE),
        TypeError,
        "Linear has a forward hook, which may change",
    ),
    "pre-hook": (
        lambda: as_mixing(hooked("register_forward_pre_hook"), IMAGE),
        TypeError,
        "Linear has a forward hook",
    ),
    "old weight norm": (
        lambda: as_mixing(old_weight_norm(), IMAGE),
        TypeError,
        "torch.nn.utils.parametrizations",
    ),
    "pruned": (lambda: as_mixing(pruned(), IMAGE), TypeError, r"prune\.remove"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_say_what_is_wrong(name: str) -> None:
    call, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=message):
        call()


class SignOfTheSum(nn.Module):
    """Degree one and, where all sums are positive, additive: linear but for f(-u) = f(u)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum((1, 2), keepdim=True).sign()


class Switch(nn.Module):
    """Linear near zero and linear far away, with another slope."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.norm(dim=(1, 2), keepdim=True) < 0.5, x, 2 * x)


@pytest.mark.parametrize("layer", [SignOfTheSum(), Switch()])
@pytest.mark.parametrize("tokens", range(1, 9))
def test_nothing_is_called_linear_by_half(layer: nn.Module, tokens: int) -> None:
    with pytest.raises(TypeError, match="it is not linear in X"):
        as_mixing(layer, torch.zeros(1, tokens, 1, dtype=torch.float64))


def test_subclass_without_a_forward_of_its_own_is_lifted() -> None:
    class Named(nn.Conv2d):
        """A convolution under another name."""

    conv, x = Named(3, 4, 3, padding=1).double(), double(1, 3, 4, 4)
    assert_same(as_mixing(conv, x).matrix(), matrix_by_probing(conv, x))


def test_a_lazy_layer_is_lifted_once_it_has_weights() -> None:
    conv, x = nn.LazyConv2d(4, 3, dtype=torch.float64), double(1, 3, 4, 4)
    conv(x)
    check_lift(conv, x, FIRST, as_mixing(conv, x))


def test_registered_subclass_may_have_its_own_forward() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    @register_lift(Doubled)
    def _(layer, x, *, view, layout):
        plain = nn.Linear(layer.in_features, layer.out_features, dtype=x.dtype)
        plain.weight, plain.bias = nn.Parameter(2 * layer.weight), nn.Parameter(2 * layer.bias)
        return as_mixing(plain, x, layout=layout)

    layer, x = Doubled(3, 2).double(), double(2, 4, 3)
    check_lift(layer, x, LAST, as_mixing(layer, x))


# --- Mixing itself -------------------------------------------------------------------------------


def parts(**changes):
    """Give the arguments of a sound Mixing with 2 terms, 6 -> 3 tokens, 4 -> 5 channels."""
    sound = {
        "token": torch.ones(1, 2, 3, 6),
        "channel": torch.ones(2, 4, 5),
        "bias": torch.zeros(1, 5),
        "grid_in": (2, 3),
        "grid_out": (3,),
    }
    return sound | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": torch.ones(2, 3, 6)}, r"token is \(2, 3, 6\): expected a tensor \(1 or B, H"),
        ({"token": torch.ones(1, 0, 3, 6)}, "token is"),
        ({"channel": torch.ones(4, 5)}, r"channel is \(4, 5\): expected a tensor \(H, C_in, C_ou"),
        ({"bias": torch.zeros(5)}, r"bias is \(5,\): expected a tensor \(1 or N_out, C_out\)"),
        ({"bias": None}, "bias is NoneType: expected a tensor"),
        ({"bias": torch.zeros(1, 5).double()}, "bias has torch.float64 on cpu, token has torch.f"),
        ({"channel": torch.ones(3, 4, 5)}, "channel has 3 terms H, as many as token: expected 2"),
        ({"bias": torch.zeros(2, 5)}, r"bias has 2 rows \(1 or N_out\): expected 1 or 3"),
        ({"bias": torch.zeros(1, 4)}, "bias has 4 channels C_out: expected 5"),
        ({"grid_in": (2, 2)}, "grid_in has 4 positions N_in: expected 6"),
        ({"grid_out": ()}, "grid_out has 1 positions N_out: expected 3"),
        ({"token": torch.ones(4, 2, 3, 6)}, "one A for each of 4 samples, but depends_on_input"),
    ],
)
def test_mixing_names_the_shape_that_does_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixing(**parts(**changes))


def test_mixing_is_the_equation() -> None:
    token, channel = double(1, 2, 3, 6, seed=1), double(2, 4, 5, seed=2)
    bias, x = double(3, 5, seed=3), double(7, 6, 4, seed=4)
    mixing = Mixing(**parts(token=token, channel=channel, bias=bias))
    assert_same(mixing(x), torch.einsum("hij,bjc,hcd->bid", token[0], x, channel) + bias)
    flat = x.flatten(1) @ mixing.matrix().T + bias.flatten()
    assert_same(mixing(x).flatten(1), flat)
    assert_same(mixing.matrix(), matrix_by_probing(mixing, x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(torch.ones(1, 4, 2, 3)), ValueError, r"image\.flatten\(2\)\.transpose\(1, 2"),
        (lambda m: m(torch.ones(1, 4, 6)), ValueError, r"\(1, 4, 6\): expected \(batch, 6, 4\)"),
        (lambda m: m(torch.ones(6, 4)), ValueError, r"expected \(batch, 6, 4\)"),
        (lambda m: m(torch.ones(1, 6, 4).double()), ValueError, "got tokens of torch.float64"),
        (lambda m: m.matrix(1), IndexError, "sample=1: this lift holds one A for every"),
        (lambda m: m.matrix(-1), IndexError, "sample=-1"),
        (lambda m: m.row(3), IndexError, "query=3: expected a number from 0 to 2"),
        (lambda m: m.row(-1), IndexError, "query=-1"),
        (lambda m: m.row((0, 0)), IndexError, r"or a place on the output grid \(3,\)"),
        (lambda m: m.row((3,)), IndexError, "query="),
        (lambda m: m.row(0, head=2), IndexError, "head=2: this lift has terms 0 to 1"),
        (lambda m: m.nonzeros("bias"), ValueError, "of='bias': expected"),
    ],
)
def test_mixing_says_what_it_expected(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(Mixing(**parts()))


def test_matrix_of_256_mebibytes_is_refused_before_it_is_made() -> None:
    wide = as_mixing(nn.Conv2d(64, 64, 1), torch.zeros(1, 64, 28, 28))
    with pytest.raises(ValueError, match=r"matrix\(\): 50,176 x 50,176 .* 9,604 MiB"):
        wide.matrix()


def test_row_is_the_filter_around_its_query() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1, groups=2).double()
    mixing = as_mixing(conv, double(1, 2, 5, 7))
    row = mixing.row((2, 4), head=1)
    assert row.shape == (5, 7)
    assert torch.equal(row[1:4, 3:6], conv.weight[1, 0].detach())
    assert row.count_nonzero() == 9
    assert torch.equal(row, mixing.row(2 * 7 + 4, head=1))
    assert torch.equal(row, mixing.row(torch.tensor(18), head=1))
