"""`helpers.mixers` and the lifts of PyTorch's attention and pooling, on layers nobody chose.

Every lift is held against its layer, and against `matrix_by_probing`: of the layer itself where its
A is the same for every input, and of the layer with its A frozen where it is not. In float64 to
1e-12, normwise. Sizes include one image, one channel, one head, one pixel, and images that are
wider than high.
"""

from __future__ import annotations

import copy
import doctest
import importlib
import math
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from helpers.equivalence import assert_equivalent, normwise_difference
from helpers.kernels import apply_kernels, kernels_to_token, neighbours, token_to_kernels
from helpers.mixers import (
    Attention,
    DepthwiseConv,
    DynamicConvForm,
    DynamicDepthwiseConv,
    LightConv,
    MultiHeadAttention,
    OneHotHeads,
    PoolMixer,
    RelativePositionAttention,
    SlidingAttention,
    StaticHeads,
    TokenMixer,
    WindowAttention,
    depthwise_from_heads,
    dynamic_conv_from_attention,
    factorise,
    heads_from_depthwise,
    offset_weights,
    sliding_from_global,
)
from helpers.mixers.attention import SCORES
from helpers.mixing import Mixing, as_mixing, from_tokens, matrix_by_probing, to_tokens
from helpers.probing import NotAffineError

TOLERANCE = 1e-12
FIRST = "channels_first"

random_cases = settings(derandomize=True, deadline=None, max_examples=100, database=None)


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(left: Tensor, right: Tensor) -> None:
    assert left.dtype == right.dtype
    assert normwise_difference(left, right) <= TOLERANCE


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Give every parameter, biases too, random numbers of float64."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(noise * parameter.shape[-1] ** -0.5)
    return module


# --- random mixers -------------------------------------------------------------------------------

sides = st.integers(1, 6)
odd = st.sampled_from([1, 3, 5, 7])
seeds = st.integers(0, 99)


@st.composite
def mixers(draw: st.DrawFn, *kinds: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    """Draw a mixer of one of these kinds, with everything an argument can say, and an image."""
    kind = draw(st.sampled_from(kinds))
    heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    channels, kernel = heads * width, (draw(odd), draw(odd))
    bias, scores = draw(st.booleans()), draw(st.sampled_from(SCORES))
    head_width = draw(st.sampled_from([None, 1, 2, 5]))
    window = draw(st.integers(1, 3))
    grid = (draw(sides), draw(sides))
    softmax, project = draw(st.booleans()), draw(st.booleans())
    out, alpha = draw(st.integers(1, 4)), draw(st.sampled_from([0, 0.5, 3, 50]))
    border = draw(st.sampled_from(["padded", "inside"]))
    make: dict[type, Callable[[], nn.Module]] = {
        DepthwiseConv: lambda: DepthwiseConv(channels, kernel, bias),
        StaticHeads: lambda: StaticHeads(channels, heads, kernel, softmax, project, bias),
        LightConv: lambda: LightConv(channels, heads, kernel, bias),
        PoolMixer: lambda: PoolMixer(channels, kernel),
        DynamicDepthwiseConv: lambda: DynamicDepthwiseConv(channels, heads, kernel, softmax),
        MultiHeadAttention: lambda: MultiHeadAttention(channels, heads, bias, head_width),
        SlidingAttention: lambda: SlidingAttention(
            channels, heads, kernel, bias, head_width, scores
        ),
        WindowAttention: lambda: WindowAttention(channels, heads, window, bias, head_width, scores),
        OneHotHeads: lambda: OneHotHeads(channels, out, kernel, head_width, bias),
        RelativePositionAttention: lambda: RelativePositionAttention(
            channels, out, kernel, alpha, border, head_width, bias
        ),
    }
    if kind is WindowAttention:
        grid = tuple(window * draw(st.integers(1, 3)) for _ in range(2))
    layer = randomised(make[kind](), draw(seeds))
    return layer, double(draw(st.integers(1, 3)), channels, *grid, seed=draw(seeds))


STATIC = (StaticHeads, LightConv, PoolMixer, OneHotHeads, RelativePositionAttention)
DYNAMIC = (DynamicDepthwiseConv, MultiHeadAttention, SlidingAttention, WindowAttention)


def check_lift(layer: nn.Module, image: Tensor) -> Mixing:
    """Hold a lift against the layer at its image, and its counts against the parameters."""
    mixing = as_mixing(layer, image)
    with torch.no_grad():
        y = layer(image)
    assert_same(mixing(to_tokens(image)), to_tokens(y))
    assert mixing.grid_in == mixing.grid_out == tuple(image.shape[2:])
    weights = sum(p.numel() for n, p in layer.named_parameters() if n.split(".")[-1] != "bias")
    assert mixing.learned_weights == weights
    assert not any(t.requires_grad for t in (mixing.token, mixing.channel, mixing.bias))
    if isinstance(layer, TokenMixer):
        with torch.no_grad():
            assert torch.equal(mixing.token, layer.token_mixing(image))
            assert mixing.heads == len(layer.channel_mixing())
    return mixing


@random_cases
@given(mixers(DepthwiseConv, *STATIC))
def test_static_mixers(case: tuple[nn.Module, Tensor]) -> None:
    layer, image = case
    mixing = check_lift(layer, image)
    assert not mixing.depends_on_input
    assert_same(mixing.matrix(), matrix_by_probing(layer, image, layout=FIRST))
    other = double(image.shape[0] + 1, *image.shape[1:], seed=7)
    with torch.no_grad():
        assert_same(mixing(to_tokens(other)), to_tokens(layer(other)))


def frozen(layer: nn.Module, sample: Tensor) -> nn.Module:
    """Give a copy of a mixer whose A is that of one sample, whatever it is fed."""
    layer = copy.deepcopy(layer)
    holder, name = layer, "kernels"
    if isinstance(layer, MultiHeadAttention):
        name = "token_mixing"
    elif isinstance(layer, WindowAttention):
        name = "_window_weights"
    elif isinstance(layer, DynamicConvForm):
        holder = layer.dynamic
    kept = getattr(holder, name)(sample)
    # The batch that probing feeds is larger than one sample.
    setattr(holder, name, lambda image, *_: kept.expand(image.shape[0], *kept.shape[1:]))
    return layer


@random_cases
@given(mixers(*DYNAMIC))
def test_dynamic_mixers(case: tuple[nn.Module, Tensor]) -> None:
    layer, image = case
    mixing = check_lift(layer, image)
    if mixing.depends_on_input:
        assert mixing.token.shape[0] == image.shape[0]
    for sample in range(mixing.token.shape[0]):
        held = frozen(layer, image[sample : sample + 1])
        assert_same(mixing.matrix(sample), matrix_by_probing(held, image, layout=FIRST))


@pytest.mark.parametrize("kind", DYNAMIC)
def test_probing_says_that_they_are_not_affine(kind: type[nn.Module]) -> None:
    arguments = {DynamicDepthwiseConv: (4, 2, 3), MultiHeadAttention: (4, 2)}.get(kind, (4, 2, 3))
    layer = randomised(kind(*arguments), 0)
    with pytest.raises(NotAffineError, match=f"{kind.__name__} is not linear"):
        matrix_by_probing(layer, double(2, 4, 3, 6), layout=FIRST)


@random_cases
@given(mixers(MultiHeadAttention, SlidingAttention, WindowAttention, LightConv))
def test_rows_of_a_softmax(case: tuple[nn.Module, Tensor]) -> None:
    layer, image = case
    with torch.no_grad():
        token = layer.token_mixing(image)
    assert (token >= 0).all()
    sums = token.sum(-1)
    if isinstance(layer, LightConv):  # the border is padded: rows hold a part of the kernel there
        assert (sums <= 1 + TOLERANCE).all()
        reach = [k // 2 for k in layer.kernel_size]
        inner = sums.unflatten(-1, tuple(image.shape[2:]))
        for axis, r in enumerate(reach):
            size = inner.shape[2 + axis]
            inner = inner.narrow(2 + axis, min(r, size - 1), max(size - 2 * r, 0))
        sums = inner
    assert (sums - 1).abs().max().item() <= TOLERANCE if sums.numel() else True


def test_heads_take_contiguous_blocks_and_fairseq_deals_them_out() -> None:
    light, image = randomised(LightConv(6, 2, 3), 0), double(1, 6, 4, 5)
    # fairseq: channel c belongs to head c mod H (its `view(-1, H, T)`).
    dealt = torch.arange(6).view(3, 2).T.flatten()
    padded = image.reshape(-1, 2, 4, 5)
    theirs = F.conv2d(padded, light.kernels[:, None], padding=1, groups=2).reshape(1, 6, 4, 5)
    assert_same(light(image[:, dealt])[:, dealt.argsort()], theirs)
    assert normwise_difference(light(image), theirs) > 0.1


# --- kernels and A -------------------------------------------------------------------------------


@random_cases
@given(sides, sides, odd, odd, st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), seeds)
def test_kernels_and_token_mixing_hold_the_same_numbers(
    height: int, width: int, kh: int, kw: int, heads: int, per_head: int, batch: int, seed: int
) -> None:
    grid = (height, width)
    kernels = double(batch, heads, kh, kw, *grid, seed=seed)
    image = double(batch, heads * per_head, *grid, seed=seed + 1)
    token = kernels_to_token(kernels)
    by_head = to_tokens(image).unflatten(-1, (heads, per_head)).transpose(1, 2)
    mixed = from_tokens((token @ by_head).transpose(1, 2).flatten(2), grid)
    assert_same(apply_kernels(image, kernels), mixed)
    outside = (neighbours(grid, (kh, kw)) < 0).view(kh, kw, *grid)
    back = token_to_kernels(token, grid, (kh, kw))
    assert_same(back, kernels.masked_fill(outside, 0))
    assert_same(kernels_to_token(back), token)
    everywhere = token_to_kernels(token, grid, (2 * height - 1, 2 * width - 1))
    assert_same(apply_kernels(image, everywhere), mixed)


def test_neighbours_by_hand() -> None:
    seen = neighbours((2, 3), 3)
    assert seen[:, 0].tolist() == [-1, -1, -1, -1, 0, 1, -1, 3, 4]
    assert seen[:, 4].tolist() == [0, 1, 2, 3, 4, 5, -1, -1, -1]


# --- one written as another: values and gradients ------------------------------------------------


@settings(random_cases, max_examples=40)
@given(mixers(SlidingAttention, WindowAttention))
def test_local_attention_is_a_dynamic_depthwise_convolution(
    case: tuple[Attention, Tensor],
) -> None:
    attention, image = case
    form = dynamic_conv_from_attention(attention)
    names = {"value.weight": "value.weight", "output.weight": "output.weight"}
    if attention.query is not None:
        names["query.weight"] = "dynamic.generator.scores.query.weight"
        names["key.weight"] = "dynamic.generator.scores.key.weight"
    if attention.position_table is not None:
        names["position_table"] = "dynamic.generator.scores.position_table"
    assert_equivalent(attention, form, image, parameters=names, dtypes=(torch.float64,))
    mixing = check_lift(form, image)
    assert_same(mixing.matrix(), as_mixing(attention, image).matrix())
    assert mixing.learned_weights == as_mixing(attention, image).learned_weights
    held = frozen(form, image[:1])
    assert_same(mixing.matrix(), matrix_by_probing(held, image, layout=FIRST))


@settings(random_cases, max_examples=40)
@given(mixers(MultiHeadAttention))
def test_global_attention_is_local_attention_that_reaches_everywhere(
    case: tuple[MultiHeadAttention, Tensor],
) -> None:
    attention, image = case
    grid = tuple(image.shape[2:])
    names = {name: name for name, _ in attention.named_parameters()}
    names.pop("key.bias", None)  # adds the same to all scores of a query: its gradient is rounding
    sliding = sliding_from_global(attention, grid)
    assert_equivalent(attention, sliding, image, parameters=names, dtypes=(torch.float64,))
    form = dynamic_conv_from_attention(attention, grid)
    assert form.dynamic.kernel_size == (2 * grid[0] - 1, 2 * grid[1] - 1)
    assert_equivalent(attention, form, image, dtypes=(torch.float64,))


@random_cases
@given(mixers(DepthwiseConv))
def test_depthwise_convolution_is_one_channel_heads(case: tuple[DepthwiseConv, Tensor]) -> None:
    conv, image = case
    heads = heads_from_depthwise(conv)
    assert_same(heads(image), conv(image))
    mixing = as_mixing(heads, image)
    assert mixing.heads == conv.in_channels
    assert_same(mixing.token, as_mixing(conv, image, view="heads").token)
    assert all(torch.linalg.matrix_rank(w) == 1 for w in mixing.channel)


@random_cases
@given(mixers(LightConv, StaticHeads))
def test_tied_heads_are_a_depthwise_convolution(case: tuple[StaticHeads, Tensor]) -> None:
    heads, image = case
    if heads.value is not None:
        with pytest.raises(ValueError, match="have projections"):
            depthwise_from_heads(heads)
        return
    conv = depthwise_from_heads(heads)
    assert_same(conv(image), heads(image))
    by_head = conv.weight[:, 0].unflatten(0, (heads.heads, -1))
    assert torch.equal(by_head, heads.kernels[:, None].expand_as(by_head))


@random_cases
@given(
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(odd, odd),
    grid=st.tuples(sides, sides),
    bias=st.booleans(),
    spare=st.integers(0, 2),
    seed=seeds,
)
def test_convolution_is_one_hot_heads(
    groups: int,
    per_group: tuple[int, int],
    kernel: tuple[int, int],
    grid: tuple[int, int],
    bias: bool,
    spare: int,
    seed: int,
) -> None:
    c_in, c_out = (groups * c for c in per_group)
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(c_in, c_out, kernel, padding=padding, groups=groups, bias=bias)
    conv = randomised(conv, seed)
    image = double(2, c_in, *grid, seed=seed)
    rank = int(torch.linalg.matrix_rank(offset_weights(conv)).max())
    for width in (None, rank, rank + spare):
        heads = OneHotHeads.from_conv(conv, width)
        assert_same(heads(image), conv(image))
        assert_same(heads.to_conv()(image), conv(image))
    with torch.no_grad():
        lift = as_mixing(heads, image)
    assert_same(lift.channel, offset_weights(conv))
    assert torch.equal(lift.token, as_mixing(conv, image, view="shifts").token)
    if rank > 1:
        with pytest.raises(ValueError, match=f"have rank {rank}"):
            OneHotHeads.from_conv(conv, rank - 1)
    sharp = RelativePositionAttention.from_conv(conv, alpha=100)
    assert_same(sharp(image), conv(image))


def test_sharpness_by_the_numbers() -> None:
    """On noise, away from the border: all is missed at 0, little at 4; the border needs padding."""
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False).double()
    conv.weight.data = double(*conv.weight.shape)
    image = double(4, 4, 16, 16, seed=1)
    y = conv(image)
    inner = (..., slice(1, -1), slice(1, -1))
    errors = {}
    for border in ("padded", "inside"):
        for alpha in (0, 2, 4, 8, 100):
            z = RelativePositionAttention.from_conv(conv, alpha, border)(image)
            errors[border, alpha] = [
                ((z[part] - y[part]).norm() / y[part].norm()).item() for part in (inner, (...,))
            ]
        falling = [errors[border, alpha][0] for alpha in (0, 2, 4, 8, 100)]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > 0.98
        assert 0.3 < falling[1] < 0.5
        assert 0.05 < falling[2] < 0.1
        assert falling[3] < 0.002
        assert falling[4] < TOLERANCE
    assert errors["padded", 100][1] < TOLERANCE
    assert errors["inside", 100][1] > 0.2


def test_a_softmax_over_positions_is_the_published_formula() -> None:
    heads = RelativePositionAttention(1, 1, 3, alpha=0.7, border="inside").double()
    a = heads.token_mixing(torch.zeros(1, 1, 4, 5).double())[0]
    places = torch.cartesian_prod(torch.arange(4), torch.arange(5)).double()
    for h, centre in enumerate(heads.centres):
        for i, query in enumerate(places):
            squared = (places - query - centre).square().sum(-1)
            assert_same(a[h, i], torch.softmax(-0.7 * squared, 0))


def test_heads_of_width_c_over_h_cannot_hold_a_random_convolution() -> None:
    weights = double(9, 144, 144)
    read, write = factorise(weights, 16, truncate=True)
    assert 0.80 < ((read @ write - weights).norm() / weights.norm()).item() < 0.82


# --- PyTorch's own attention ---------------------------------------------------------------------


@st.composite
def attention_layers(draw: st.DrawFn) -> tuple[nn.MultiheadAttention, Tensor, dict[str, Tensor]]:
    """Draw a layer, tokens ``(B, N, C)`` and masks that leave each query itself."""
    heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    layer = nn.MultiheadAttention(
        heads * width, heads, bias=draw(st.booleans()), batch_first=draw(st.booleans())
    )
    layer = randomised(layer, draw(seeds)).train(draw(st.booleans()))
    options = {}
    seed = draw(seeds)
    hidden = double(batch * heads, tokens, tokens, seed=seed) > 0.5
    hidden.diagonal(dim1=1, dim2=2).fill_(False)
    match draw(st.sampled_from(["none", "shared", "each"])):
        case "shared":
            options["attn_mask"] = hidden[0]
        case "each":
            options["attn_mask"] = hidden
    if options and draw(st.booleans()):
        numbers = double(*options["attn_mask"].shape, seed=seed + 1)
        options["attn_mask"] = numbers.masked_fill(options["attn_mask"], -torch.inf)
    if draw(st.booleans()):
        padded = torch.zeros(batch, tokens, dtype=torch.bool)
        if tokens > 1 and "attn_mask" not in options:
            padded[-1, tokens // 2 + 1 :] = True
        options["key_padding_mask"] = padded
        if draw(st.booleans()):
            options["key_padding_mask"] = double(batch, tokens, seed=seed + 2)
    kinds = {mask.dtype for mask in options.values()}
    if len(kinds) > 1:  # PyTorch warns of masks of two kinds
        del options["key_padding_mask"]
    x = double(batch, tokens, heads * width, seed=seed + 3)
    return layer, x, options


@settings(random_cases, max_examples=200)
@given(attention_layers())
def test_multihead_attention(
    case: tuple[nn.MultiheadAttention, Tensor, dict[str, Tensor]],
) -> None:
    layer, tokens, options = case
    x = tokens if layer.batch_first else tokens.transpose(0, 1)
    mixing = as_mixing(layer, x, **options)
    with torch.no_grad():
        y, weights = layer(x, x, x, average_attn_weights=False, **options)
        fast, _ = layer(x, x, x, need_weights=False, **options)
    if not layer.batch_first:
        y, fast = y.transpose(0, 1), fast.transpose(0, 1)
    assert_same(mixing(tokens), y)
    assert_same(mixing(tokens), fast)
    assert_same(mixing.token, weights)
    assert mixing.depends_on_input
    assert mixing.learned_weights == 4 * layer.embed_dim**2
    assert (torch.linalg.matrix_rank(mixing.channel) <= layer.head_dim).all()

    # The oracle: the layer with its weights frozen, step by step and with its own names.
    def held(t: Tensor) -> Tensor:
        w, b = layer.in_proj_weight[-layer.embed_dim :], layer.in_proj_bias
        values = F.linear(t, w, None if b is None else b[-layer.embed_dim :])
        per_head = values.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        return layer.out_proj((weights[0] @ per_head).transpose(1, 2).flatten(2))

    assert_same(mixing.matrix(0), matrix_by_probing(held, tokens))
    assert_same(mixing.bias.expand(*tokens.shape[1:]), held(torch.zeros_like(tokens))[0].detach())


@settings(random_cases, max_examples=60)
@given(attention_layers())
def test_attention_written_out(
    case: tuple[nn.MultiheadAttention, Tensor, dict[str, Tensor]],
) -> None:
    layer, tokens, options = case
    ours = MultiHeadAttention.from_torch(layer)
    grid = (1, tokens.shape[1])
    image = from_tokens(tokens, grid)
    mask = options.get("attn_mask")
    x = tokens if layer.batch_first else tokens.transpose(0, 1)
    y = layer(x, x, x, attn_mask=mask)[0]
    y = y if layer.batch_first else y.transpose(0, 1)
    assert_same(to_tokens(ours(image, mask)), y)
    mixing = as_mixing(ours, image, attn_mask=mask)
    assert_same(mixing.matrix(), as_mixing(layer, x, attn_mask=mask).matrix())
    back = ours.to_torch()
    assert_same(back.in_proj_weight, layer.in_proj_weight)
    assert_same(back.out_proj.weight, layer.out_proj.weight)


def test_the_average_over_heads_is_no_heads_attention() -> None:
    layer, x = randomised(nn.MultiheadAttention(8, 4, batch_first=True), 0), double(1, 6, 8)
    y, averaged = layer(x, x, x)
    mixing = as_mixing(layer, x)
    assert_same(averaged, mixing.token.mean(1))
    for h in range(4):
        assert normwise_difference(averaged[0], mixing.token[0, h]) > 0.05
    as_one = averaged @ x @ mixing.channel.sum(0) + mixing.bias
    assert normwise_difference(as_one, y) > 0.01


@pytest.mark.parametrize("batch_first", [True, False])
def test_probing_attention_says_that_it_is_not_affine(batch_first: bool) -> None:
    layer = randomised(nn.MultiheadAttention(4, 2, batch_first=batch_first), 0)
    with pytest.raises(NotAffineError, match="MultiheadAttention is not linear"):
        matrix_by_probing(layer, double(2, 3, 4))
    # Of one token there is nothing to choose: then it is affine.
    one = double(1, 1, 4)
    assert_same(matrix_by_probing(layer, one), as_mixing(layer, one).matrix())


def test_blocks_of_plain_parts_that_nobody_registered_are_explained() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True).double()
    with pytest.raises(TypeError, match=r"not linear in X.*'self_attn' \(MultiheadAttention\)"):
        as_mixing(encoder, double(2, 5, 8))
    with pytest.raises(ValueError, match="at 'self_attn' has dropout that is active"):
        as_mixing(nn.TransformerEncoderLayer(8, 2, 16, 0.1).double(), double(5, 2, 8))


def test_masks_that_hide_everything_are_named() -> None:
    layer, x = nn.MultiheadAttention(4, 2, batch_first=True).double(), double(2, 3, 4)
    each = torch.zeros(4, 3, 3, dtype=torch.bool)
    each[3, 2] = True  # sample 1, head 1, query 2
    with pytest.raises(ValueError, match=r"query 2 \(sample 1, head 1\), and for 0 more"):
        as_mixing(layer, x, attn_mask=each)
    together = torch.tensor([[False, True, True]] * 3), torch.tensor([[False] * 3, [True] * 3])
    with pytest.raises(ValueError, match=r"query 0 \(sample 1, head 0\), and for 5 more"):
        as_mixing(layer, x, attn_mask=together[0], key_padding_mask=together[1])
    complexes = torch.zeros(3, 3, dtype=torch.complex128)
    for mask in (complexes, torch.zeros(3, 3, dtype=torch.int32)):
        with pytest.raises(TypeError, match="attn_mask has dtype"):
            as_mixing(layer, x, attn_mask=mask)


# --- pooling -------------------------------------------------------------------------------------


@st.composite
def poolings(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes = draw(st.sampled_from([1, 2]))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel = per_axis(1, 4)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    arguments = {
        "kernel_size": kernel,
        "stride": draw(st.sampled_from([None, per_axis(1, 4)])),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    if len(set(kernel)) == 1 and draw(st.booleans()):
        arguments["kernel_size"] = kernel[0]
        arguments["padding"] = min(padding)
    if axes == 2:
        arguments["divisor_override"] = draw(st.sampled_from([None, 1, 5]))
    sizes = [
        max(1, k - 2 * p) + draw(st.integers(0, 5)) for k, p in zip(kernel, padding, strict=True)
    ]
    sizes = [max(n, k - 2 * min(padding)) for n, k in zip(sizes, kernel, strict=True)]
    layer = (nn.AvgPool1d if axes == 1 else nn.AvgPool2d)(**arguments)
    return layer, double(draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes, seed=draw(seeds))


@settings(random_cases, max_examples=300)
@given(poolings())
def test_pooling(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    mixing = as_mixing(layer, x)
    assert_same(mixing(to_tokens(x)), to_tokens(layer(x)))
    assert mixing.grid_out == tuple(layer(x).shape[2:])
    assert_same(mixing.matrix(), matrix_by_probing(layer, x))
    assert (mixing.heads, mixing.learned_weights) == (1, 0)


def test_pooling_minus_identity_is_poolformers() -> None:
    image = double(2, 3, 5, 4)
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    assert_same(PoolMixer(3)(image), pool(image) - image)
    identity = torch.eye(20, dtype=torch.float64)
    assert_same(as_mixing(PoolMixer(3), image).token, as_mixing(pool, image).token - identity)


# --- what carries a gradient, and what is left alone ---------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [*STATIC, *DYNAMIC])
def test_mixers_train_in_their_dtype(kind: type[nn.Module], dtype: torch.dtype) -> None:
    arguments = {PoolMixer: (4,), MultiHeadAttention: (4, 2), OneHotHeads: (4, 4, 3)}
    arguments |= {LightConv: (4, 2, 3), RelativePositionAttention: (4, 4, 3, 1.0)}
    layer = kind(*arguments.get(kind, (4, 2, 3))).to(dtype)
    image = torch.randn(2, 4, 3, 6, dtype=dtype, requires_grad=True)
    y = layer(image)
    assert y.dtype == dtype
    y.square().sum().backward()
    assert image.grad.abs().max() > 0
    assert all(p.grad is not None for p in layer.parameters())
    assert as_mixing(layer, image).token.dtype == dtype


def test_a_lift_is_a_copy() -> None:
    image = double(1, 4, 3, 3)
    for layer in (LightConv(4, 2, 3, bias=True), OneHotHeads(4, 4, 3), StaticHeads(4, 2, 3)):
        mixing = as_mixing(layer.double(), image)
        before = [t.clone() for t in (mixing.token, mixing.channel, mixing.bias)]
        for parameter in layer.parameters():
            parameter.data += 1
        after = (mixing.token, mixing.channel, mixing.bias)
        assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))


def test_a_permutation_of_the_pixels_passes_through_attention_alone() -> None:
    image = double(1, 8, 4, 6)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))

    def shuffled(x: Tensor) -> Tensor:
        return from_tokens(to_tokens(x)[:, order], (4, 6))

    attention = randomised(MultiHeadAttention(8, 2), 0)
    assert_same(attention(shuffled(image)), shuffled(attention(image)))
    for local in (DepthwiseConv(8, 3), SlidingAttention(8, 2, 3), WindowAttention(8, 2, 2)):
        local = randomised(local, 0)
        assert normwise_difference(local(shuffled(image)), shuffled(local(image))) > 0.1


def test_the_numbers_of_a_seven_by_seven_kernel() -> None:
    conv = randomised(DepthwiseConv(1, 7), 0)
    row = as_mixing(conv, double(1, 1, 14, 14)).token[0, 0]
    assert int(row.count_nonzero()) == (14 * 7 - 12) ** 2 == 7396
    assert len(row.unique()) == 49 + 1
    window = randomised(WindowAttention(4, 1, 7), 0).token_mixing(double(1, 4, 14, 14))[0, 0]
    assert int(window.count_nonzero()) == 4 * 49**2 == 9604
    assert int(((window != 0) & (row != 0)).sum()) == 5476
    assert math.isclose(window.sum().item(), 196, rel_tol=1e-12)


# --- the examples in the docstrings --------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        *("attention_lifts", "budget", "checkpoints", "kernels", "lifts", "masks"),
        *(f"mixers.{name}" for name in ("attention", "base", "dynamic", "position")),
        *(f"mixers.{name}" for name in ("rewriting", "static")),
    ],
)
def test_examples_run(module: str) -> None:
    torch.manual_seed(0)
    loaded = importlib.import_module(f"helpers.{module}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    names = {"torch": torch, "nn": nn}
    result = doctest.testmod(loaded, extraglobs=names, optionflags=flags)
    assert result.failed == 0
