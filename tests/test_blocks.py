"""The two blocks are the official ones; every step of the morph is what the list says."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import helpers.morph
from helpers.blocks import (
    ConvNeXtBlock,
    ConvNeXtTail,
    DynamicConvBlock,
    FeedForward,
    LayerNormChannelsFirst,
    TransformerBlock,
)
from helpers.budget import convnext_block, swin_block, transformer_block
from helpers.equivalence import OnPixels, assert_equivalent, normwise_difference
from helpers.mixers import WindowAttention
from helpers.morph import MORPH, Kind, morph_from_convnext, morph_from_transformer

SIZES = st.integers(1, 7)
ODD = st.sampled_from([1, 3, 5])
STEPS = [pytest.param(step, id=f"{step.number}-{step.name}") for step in MORPH]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        # float64 noise: what passes through float32 on the way is caught.
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(0.5 * values)
    return module


# --- the blocks -----------------------------------------------------------------------------------


def official_keys(channels: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a block of the official repository, commit 048efce."""
    wide = 4 * channels
    return {
        "gamma": (channels,),
        "dwconv.weight": (channels, 1, 7, 7),
        "dwconv.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
        "pwconv1.weight": (wide, channels),
        "pwconv1.bias": (wide,),
        "pwconv2.weight": (channels, wide),
        "pwconv2.bias": (channels,),
    }


def test_convnext_block_has_the_official_keys_and_shapes() -> None:
    state = ConvNeXtBlock(96).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == official_keys(96)


@pytest.mark.parametrize("order", ConvNeXtBlock.ORDERS)
def test_convnext_block_computes_the_official_lines(order: str) -> None:
    """Both orders, against the official forward written out with functions."""
    image = noise(2, 8, 5, 6)
    state = {key: noise(*shape, seed=i) for i, (key, shape) in enumerate(official_keys(8).items())}
    block = ConvNeXtBlock(8, order=order).double()
    block.load_state_dict(state)
    f = nn.functional
    x = f.conv2d(image, state["dwconv.weight"], state["dwconv.bias"], padding=3, groups=8)
    x = f.layer_norm(
        x.permute(0, 2, 3, 1), (8,), state["norm.weight"], state["norm.bias"], eps=1e-6
    )
    x = f.gelu(x @ state["pwconv1.weight"].T + state["pwconv1.bias"])
    x = state["gamma"] * (x @ state["pwconv2.weight"].T + state["pwconv2.bias"])
    assert normwise_difference(block(image), image + x.permute(0, 3, 1, 2)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=25)
@given(batch=SIZES, channels=st.integers(4, 8), h=SIZES, w=SIZES, k=ODD, scale=st.booleans())
def test_the_two_orders_agree_and_share_their_weights(batch, channels, h, w, k, scale) -> None:
    layer_scale = 1e-6 if scale else None
    first = randomised(ConvNeXtBlock(channels, k, 2, layer_scale))
    second = ConvNeXtBlock(channels, k, 2, layer_scale, order="channels_first").double()
    second.load_state_dict(first.state_dict())
    names = {"dwconv.weight": "dwconv.weight", "pwconv1.weight": "pwconv1.weight"}
    assert_equivalent(first, second, noise(batch, channels, h, w), parameters=names)
    back = ConvNeXtBlock(channels, k, 2, layer_scale).double()
    back.load_state_dict(second.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), back.parameters(), strict=True)
    )


def test_state_dict_of_another_size_is_still_refused() -> None:
    for order in ConvNeXtBlock.ORDERS:
        with pytest.raises(RuntimeError, match=r"pwconv1\.weight"):
            ConvNeXtBlock(8, order=order).load_state_dict(ConvNeXtBlock(6).state_dict())


def test_loading_leaves_the_given_state_dict_alone() -> None:
    state = ConvNeXtBlock(8).state_dict()
    ConvNeXtBlock(8, order="channels_first").load_state_dict(state)
    assert state["pwconv1.weight"].shape == (32, 8)


def test_the_block_is_its_tail_around_its_convolution() -> None:
    block = randomised(ConvNeXtBlock(6))
    tail = ConvNeXtTail(6).double()
    tail.load_state_dict(block.state_dict(), strict=False)
    image = noise(2, 6, 5, 7)
    assert torch.equal(block.tail(image), tail(image))
    assert torch.equal(block(image), image + tail(block.dwconv(image)))
    tokens = OnPixels(FeedForward.from_tail(block))
    assert normwise_difference(tokens(image), tail(image)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    batch=SIZES,
    width=st.integers(2, 5),
    heads=st.integers(1, 3),
    tokens=SIZES,
    seed=st.integers(0, 9),
)
def test_transformer_block_is_the_encoder_layer(batch, width, heads, tokens, seed) -> None:
    channels = 2 * width * heads
    layer = nn.TransformerEncoderLayer(
        channels, heads, 3 * channels, 0.0, "gelu", 1e-6, True, norm_first=True
    )
    layer = randomised(layer, seed)
    block = TransformerBlock(channels, heads, expansion=3).double()
    block.load_state_dict(layer.state_dict())
    layer.load_state_dict(block.state_dict())
    x = noise(batch, tokens, channels)
    names = {n: n for n in ("self_attn.in_proj_weight", "norm1.weight", "linear2.bias")}
    assert_equivalent(layer, block, x, parameters=names, dtypes=(torch.float64,))
    # In eval mode PyTorch takes its fused path: other code, the same numbers.
    with torch.no_grad():
        assert normwise_difference(layer.eval()(x), block(x)) < 1e-12


def test_transformer_block_takes_images_with_channels_last() -> None:
    block, image = TransformerBlock(8, 2), torch.randn(2, 8, 3, 5)
    by_tokens = block(image.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(image.shape)
    assert torch.allclose(OnPixels(block)(image), by_tokens, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(batch=st.integers(1, 3), h=SIZES, w=SIZES, heads=st.integers(1, 3), seed=st.integers(0, 9))
def test_transformer_block_is_a_block_of_convolutions(batch, h, w, heads, seed) -> None:
    block = randomised(TransformerBlock(4 * heads, heads), seed)
    convolutions = DynamicConvBlock(block, (h, w))
    names = {"linear1.weight": "pwconv1.weight", "self_attn.out_proj.weight": "mixer.output.weight"}
    assert_equivalent(
        OnPixels(block),
        convolutions,
        noise(batch, 4 * heads, h, w),
        parameters={f"layer.{a}": b for a, b in names.items()},
        dtypes=(torch.float64,),
    )


def test_dynamic_kernels_are_softmax_rows_laid_out_as_filters() -> None:
    block = randomised(TransformerBlock(12, 4))
    image = noise(2, 12, 6, 6)
    kernel = DynamicConvBlock(block, (6, 6)).kernels(image)
    assert kernel.shape == (2, 4, 11, 11, 6, 6)
    assert torch.allclose(kernel.sum((2, 3)), torch.ones(2, 4, 6, 6).double())
    # 36 of the 121 taps reach the image, at every pixel.
    assert ((kernel > 0).sum((2, 3)) == 36).all()
    tokens = block.norm1(image.movedim(1, -1)).flatten(1, 2)
    _, a = block.self_attn(tokens, tokens, tokens, average_attn_weights=False)
    # Pixel (2, 3) reads pixel (4, 1) through the tap 2 down, 2 left of the middle.
    assert torch.allclose(kernel[:, :, 5 + 2, 5 - 2, 2, 3], a[:, :, 2 * 6 + 3, 4 * 6 + 1])


@settings(derandomize=True, deadline=None, max_examples=20)
@given(h=SIZES, w=SIZES, k=ODD)
def test_a_small_dynamic_kernel_is_local_attention(h, w, k) -> None:
    block = randomised(TransformerBlock(8, 2))
    local = DynamicConvBlock(block, (h, w), kernel_size=k).mixer
    at = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    far = ((at[:, None] - at[None]).abs() > k // 2).any(-1)
    image = noise(2, 8, h, w)
    x = image.flatten(2).transpose(1, 2)
    masked, _ = block.self_attn(x, x, x, attn_mask=far, need_weights=False)
    assert normwise_difference(local(image).flatten(2).transpose(1, 2), masked) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=20)
@given(batch=SIZES, channels=st.integers(4, 8), h=SIZES, w=SIZES)
def test_layer_norm_channels_first(batch, channels, h, w) -> None:
    first = randomised(LayerNormChannelsFirst(channels))
    last = nn.LayerNorm(channels, eps=1e-6).double()
    last.load_state_dict(first.state_dict())
    assert_equivalent(
        first,
        OnPixels(last),
        noise(batch, channels, h, w),
        parameters={"weight": "layer.weight"},
        dtypes=(torch.float64,),
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvNeXtBlock(0), "channels is 0"),
        (lambda: ConvNeXtBlock(4, kernel_size=4), "kernel_size=4 is even"),
        (lambda: ConvNeXtBlock(4, kernel_size=-1), "kernel_size=-1: expected at least 1"),
        (lambda: ConvNeXtBlock(4, order="last"), "order='last': expected 'channels_last'"),
        (lambda: TransformerBlock(8, 3), "heads=3 does not divide channels=8"),
        (lambda: TransformerBlock(8, 0), "heads is 0, expected at least 1"),
        (lambda: DynamicConvBlock(TransformerBlock(8, 2), (4, 5), 2), "kernel_size=2 is even"),
        (lambda: LayerNormChannelsFirst(0), "channels is 0"),
        (lambda: MORPH[0].build(8, 3, 3), "heads=3"),
        (lambda: MORPH[-1].build(8, 4, 2), "kernel_size=4"),
    ],
)
def test_bad_sizes_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --- the morph ------------------------------------------------------------------------------------


def formula(number: int, c: int, k: int, h: int, n: int) -> tuple[int, int]:
    """Parameters and multiply-adds of step `number`, by hand; windows divide the image of n."""
    feed_forward, norm, projection = 8 * c * c + 5 * c, 2 * c, c * c + c
    projections = (4, 4, 4, 2, 2, 2, 2, 1)[number] if number < 8 else 0
    table = {2: h * (2 * k - 1) ** 2, 3: h * (2 * k - 1) ** 2, 4: h * k * k, 5: h * k * k}
    kernel = 0 if number < 2 else table.get(number, c * k * k)
    parameters = feed_forward + norm + projections * projection + kernel
    parameters += norm * (number < 9) + c * (number > 11) + c * (number > 12)
    reach = n if number == 0 else k * k
    mixing = reach * c * n * (2 if number < 3 else 1)
    return parameters, 8 * c * c * n + projections * c * c * n + mixing


@pytest.mark.parametrize("step", STEPS)
def test_costs_are_the_formula(step) -> None:
    for c, size, k, h in ((96, 56, 7, 3), (12, 9, 3, 4), (8, 5, 5, 1), (6, 4, 1, 6)):
        cost = step.cost(c, size, k, h)
        assert (cost.parameters, cost.macs) == formula(step.number, c, k, h, size * size)


@pytest.mark.parametrize("step", STEPS)
def test_multiply_adds_are_those_of_the_running_block(step) -> None:
    for c, size, k, h in ((12, 9, 3, 4), (8, 7, 3, 2), (6, 4, 5, 3)):  # also windows that stick out
        with FlopCounterMode(display=False) as counter:
            step.build(c, k, h)(torch.randn(1, c, size, size))
        assert counter.get_total_flops() == 2 * step.cost(c, size, k, h).macs


def test_costs_by_name() -> None:
    """The milestones, in the numbers of the field."""
    assert MORPH[0].cost().parameters == 12 * 96**2 + 13 * 96
    assert MORPH[2].cost().parameters == 12 * 96**2 + 13 * 96 + 169 * 3  # Swin
    assert MORPH[-1].cost().parameters == 8 * 96**2 + 58 * 96
    for step, budget in (
        (MORPH[0], transformer_block(96, 56**2)),
        (MORPH[2], swin_block(96, 3, 56**2)),
        (MORPH[-1], convnext_block(96, 56**2)),
    ):
        assert (step.cost().parameters, step.cost().macs) == (budget.parameters, budget.macs)
    layers = (TransformerBlock(96, 3), ConvNeXtBlock(96))
    for step, layer in zip((MORPH[0], MORPH[-1]), layers, strict=True):
        assert step.cost().parameters == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("step", STEPS)
@settings(derandomize=True, deadline=None, max_examples=10)
@given(
    batch=st.integers(1, 3), d=st.integers(1, 3), heads=st.integers(1, 3), h=SIZES, w=SIZES, k=ODD
)
def test_every_step_runs_and_carries_weights_as_its_kind_says(
    step, batch, d, heads, h, w, k
) -> None:
    channels, image = d * heads, noise(batch, d * heads, h, w)
    block = randomised(step.build(channels, k, heads))
    assert block(image).shape == image.shape
    if step.kind is Kind.START:
        return
    before = MORPH[step.number - 1].build(channels, k, heads).double()
    if step.into is not None:
        old, new = randomised(before, 1), step.build(channels, k, heads).double()
        new.load_state_dict(step.into(old.state_dict(), new))
        assert normwise_difference(old(image), new(image)) < 1e-12
    if step.back is not None:
        before.load_state_dict(step.back(block.state_dict(), before))
        assert normwise_difference(before(image), block(image)) < 1e-12


@pytest.mark.parametrize("step", STEPS[1:])
def test_every_step_changes_the_code(step) -> None:
    before = MORPH[step.number - 1]
    assert step.code != before.code
    assert [line for mark, line in step.diff if mark != "-"] == list(step.code)
    assert [line for mark, line in step.diff if mark != "+"] == list(before.code)
    assert len(step.code) <= 6
    assert max(map(len, step.code)) <= 80


@pytest.mark.parametrize("step", STEPS)
def test_the_code_shown_is_the_code_that_runs(step) -> None:
    """Executed as it is printed, with the block's parts by their names."""
    block, image = randomised(step.build(6, 3, 2)), noise(2, 6, 4, 5)
    names = {n: getattr(block, n) for n in dir(block) if not n.startswith("_")}
    names |= dict(vars(helpers.morph)) | {"x": image.movedim(1, -1)}
    *lines, last = step.code
    exec("\n".join(lines), names)
    assert last.startswith("return ")
    assert torch.equal(eval(last.removeprefix("return "), names).movedim(-1, 1), block(image))


@pytest.mark.parametrize(
    ("number", "scores"), [(1, "content"), (2, "content+position"), (3, "position")]
)
def test_window_steps_are_the_window_mixer(number: int, scores: str) -> None:
    """The windows and the table of offsets, against a layer written elsewhere."""
    block = randomised(MORPH[number].build(6, 3, 2))
    mixer = WindowAttention(6, 2, 3, scores=scores).double()
    state = block.state_dict()
    if "table" in state:
        state["position_table"] = state["table"].unflatten(1, (5, 5))
    mixer.load_state_dict({name: state[name] for name in mixer.state_dict()})
    image = noise(2, 6, 6, 9)
    y = image + mixer(OnPixels(block.norm1)(image))
    feed_forward = nn.Sequential(block.norm2, block.linear1, nn.GELU(), block.linear2)
    assert normwise_difference(block(image), y + OnPixels(feed_forward)(y)) < 1e-12


def test_a_window_that_sticks_out_sees_zeros() -> None:
    block, image = randomised(MORPH[3].build(6, 3, 2)), noise(1, 6, 4, 5)
    x, padded = image.movedim(1, -1), torch.zeros(1, 6, 6, 6).double()
    padded[..., :4, :5] = image
    windows = block.windows(padded.movedim(1, -1))
    assert torch.equal(block.windows(x), windows)
    assert torch.equal(block.unwindow(windows, x), x)


def test_no_step_has_a_part_that_it_does_not_use() -> None:
    for step in MORPH:
        block = randomised(step.build(6, 3, 2))
        block(noise(2, 6, 4, 5)).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in block.parameters()), step.name


@pytest.mark.parametrize("step", [s for s in MORPH if s.kind is Kind.REPLACES])
def test_a_step_that_replaces_changes_the_output(step) -> None:
    old, new = (randomised(s.build(12, 3, 3)) for s in (MORPH[step.number - 1], step))
    shared = {k: v for k, v in old.state_dict().items() if k in new.state_dict()}
    new.load_state_dict(shared, strict=False)
    image = noise(1, 12, 6, 6)
    assert normwise_difference(old(image), new(image)) > 0.05


def test_the_list_is_one_change_a_step() -> None:
    """Where two steps have the same parts only the wiring differs; else one part does."""
    for before, step in itertools.pairwise(MORPH):
        gone, come = set(before.parts) - set(step.parts), set(step.parts) - set(before.parts)
        assert len(come) <= 1
        assert len(gone) <= 1 or gone == {"query", "key"}
    assert len({step.name for step in MORPH}) == len(MORPH)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(batch=st.integers(1, 3), heads=st.integers(1, 3), h=SIZES, w=SIZES, k=ODD)
def test_both_ends_are_the_real_blocks(batch, heads, h, w, k) -> None:
    channels = 4 * heads
    image = noise(batch, channels, h, w)
    transformer = randomised(TransformerBlock(channels, heads))
    start = morph_from_transformer(transformer, k)
    assert normwise_difference(start(image), OnPixels(transformer)(image)) < 1e-12
    for order in ConvNeXtBlock.ORDERS:
        convnext = randomised(ConvNeXtBlock(channels, k, order=order))
        end = morph_from_convnext(convnext)
        assert normwise_difference(end(image), convnext(image)) < 1e-12


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: morph_from_transformer(TransformerBlock(8, 2, expansion=2)), "expansion is 2"),
        (lambda: morph_from_transformer(TransformerBlock(8, 2, eps=1e-5)), "eps is 1e-05"),
        (lambda: morph_from_convnext(ConvNeXtBlock(8, expansion=2)), "expansion is 2"),
        (lambda: morph_from_convnext(ConvNeXtBlock(8, layer_scale=None)), "no layer scale"),
    ],
)
def test_what_the_morph_does_not_cover_is_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_first_step_has_no_diff() -> None:
    assert {mark for mark, _ in MORPH[0].diff} == {" "}
    assert inspect.isfunction(MORPH[0].run)
