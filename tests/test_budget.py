"""`helpers.budget` against live modules: every formula, every preset, to the last number.

The modules are those of `helpers.blocks` and `helpers.mixers`, PyTorch's own, and whole models
assembled here of plain parts. They live on the "meta" device: shapes without numbers.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, LayerNormChannelsFirst, TransformerBlock
from helpers.budget import (
    KINDS,
    PRESETS,
    Budget,
    Design,
    attention,
    conv,
    convnext,
    convnext_block,
    convnext_isotropic,
    feed_forward,
    layer_norm,
    linear,
    measure,
    swin,
    swin_block,
    transformer_block,
    vit,
)
from helpers.equivalence import OnPixels
from helpers.mixers import MultiHeadAttention, WindowAttention
from helpers.morph import MORPH

random_cases = settings(derandomize=True, deadline=None, max_examples=60, database=None)
small = st.integers(1, 6)


def assert_counted(budget: Budget, module: nn.Module, *inputs: Tensor) -> None:
    """Hold a budget against a live module: parameters and multiply-adds, exactly."""
    live = measure(module, *inputs)
    assert (budget.parameters, budget.macs) == (live.parameters, live.macs)
    assert all(part.kind in KINDS for part in budget.parts)
    assert len({part.name for part in budget.parts}) == len(budget.parts)


# --- layers and blocks ---------------------------------------------------------------------------


@random_cases
@given(
    groups=small,
    per_group=st.tuples(small, small),
    kernel=st.tuples(small, small),
    bias=st.booleans(),
    stride=small,
    padding=st.integers(0, 2),
)
def test_convolution(
    groups: int,
    per_group: tuple[int, int],
    kernel: tuple[int, int],
    bias: bool,
    stride: int,
    padding: int,
) -> None:
    c_in, c_out = (groups * c for c in per_group)
    with torch.device("meta"):
        layer = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=bias)
        image = torch.empty(1, c_in, 9, 7)
    positions = layer(image)[0, 0].numel()
    assert_counted(conv(c_in, c_out, kernel, positions, groups, bias), layer, image)


@random_cases
@given(small, small, small, st.booleans())
def test_linear(c_in: int, c_out: int, tokens: int, bias: bool) -> None:
    with torch.device("meta"):
        layer, x = nn.Linear(c_in, c_out, bias), torch.empty(1, tokens, c_in)
    assert_counted(linear(c_in, c_out, tokens, bias), layer, x)
    norm = nn.LayerNorm(c_in, device="meta")
    assert_counted(layer_norm(c_in), norm, x)


@random_cases
@given(
    channels=st.integers(1, 40),
    kernel=st.sampled_from([1, 3, 5, 7, 9]),
    expansion=small,
    layer_scale=st.booleans(),
    order=st.sampled_from(ConvNeXtBlock.ORDERS),
    grid=st.tuples(small, small),
)
def test_convnext_block(
    channels: int,
    kernel: int,
    expansion: int,
    layer_scale: bool,
    order: str,
    grid: tuple[int, int],
) -> None:
    with torch.device("meta"):
        block = ConvNeXtBlock(channels, kernel, expansion, 1e-6 if layer_scale else None, order)
        image = torch.empty(1, channels, *grid)
    tokens = grid[0] * grid[1]
    budget = convnext_block(channels, tokens, kernel, expansion, layer_scale)
    assert_counted(budget, block, image)
    if expansion == 4:
        c, k = channels, kernel
        assert budget.parameters == 8 * c**2 + (k**2 + 9) * c - (0 if layer_scale else c)
        assert budget.macs == (8 * c**2 + k**2 * c) * tokens


@random_cases
@given(heads=small, width=small, tokens=st.integers(1, 12), expansion=small)
def test_transformer_block(heads: int, width: int, tokens: int, expansion: int) -> None:
    c = heads * width
    with torch.device("meta"):
        ours = TransformerBlock(c, heads, expansion)
        theirs = nn.TransformerEncoderLayer(
            c, heads, expansion * c, 0.0, "gelu", batch_first=True, norm_first=True
        )
        x = torch.empty(1, tokens, c)
    budget = transformer_block(c, tokens, expansion)
    for block in (ours, theirs, theirs.eval()):
        assert_counted(budget, block, x)
    if expansion == 4:
        assert budget.parameters == 12 * c**2 + 13 * c
        assert budget.macs == 12 * c**2 * tokens + 2 * c * tokens**2


@random_cases
@given(heads=small, width=small, tokens=st.integers(1, 12), bias=st.booleans())
def test_attention(heads: int, width: int, tokens: int, bias: bool) -> None:
    c = heads * width
    with torch.device("meta"):
        theirs, x = nn.MultiheadAttention(c, heads, bias=bias), torch.empty(tokens, 1, c)
        ours, image = MultiHeadAttention(c, heads, bias), torch.empty(1, c, tokens, 1)
    assert_counted(attention(c, tokens, bias=bias), theirs, x, x, x)
    assert_counted(attention(c, tokens, bias=bias), ours, image)
    assert attention(c, tokens, span=1).macs == (4 * c**2 + 2 * c) * tokens


class SwinBlock(nn.Module):
    """Swin's block without the shift, of the book's window attention and plain parts."""

    def __init__(self, channels: int, heads: int, window: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm1 = LayerNormChannelsFirst(channels)
        self.attention = WindowAttention(channels, heads, window, scores="content+position")
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        image = image + self.attention(self.norm1(image))
        return image + OnPixels(self.feed_forward)(image)


@random_cases
@given(
    heads=small,
    width=small,
    window=st.integers(1, 4),
    windows=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    expansion=small,
)
def test_swin_block(
    heads: int, width: int, window: int, windows: tuple[int, int], expansion: int
) -> None:
    c = heads * width
    with torch.device("meta"):
        block = SwinBlock(c, heads, window, expansion)
        image = torch.empty(1, c, window * windows[0], window * windows[1])
    tokens = image.shape[2] * image.shape[3]
    budget = swin_block(c, heads, tokens, window, expansion)
    assert_counted(budget, block, image)
    if expansion == 4:
        assert budget.parameters == 12 * c**2 + 13 * c + (2 * window - 1) ** 2 * heads


def test_the_ends_of_the_morph_cost_what_the_formulas_say() -> None:
    for step, budget in (
        (MORPH[0], transformer_block(96, 3136)),
        (MORPH[2], swin_block(96, 3, 3136)),
        (MORPH[-1], convnext_block(96, 3136)),
    ):
        cost = step.cost(channels=96, size=56, kernel_size=7, heads=3)
        assert (cost.parameters, cost.macs) == (budget.parameters, budget.macs)


# --- whole models, assembled of parts ------------------------------------------------------------


class Head(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.norm(image.mean((2, 3))))


def live_convnext(depths, dims, kernel_size=7, expansion=4, layer_scale=True, classes=1000):
    parts, scale = [], 1e-6 if layer_scale else None
    for i, (depth, c) in enumerate(zip(depths, dims, strict=True)):
        if i == 0:
            parts += [nn.Conv2d(3, c, 4, 4), LayerNormChannelsFirst(c)]
        else:
            parts += [LayerNormChannelsFirst(dims[i - 1]), nn.Conv2d(dims[i - 1], c, 2, 2)]
        parts += [ConvNeXtBlock(c, kernel_size, expansion, scale) for _ in range(depth)]
    return nn.Sequential(*parts, Head(dims[-1], classes))


def live_isotropic(
    depth, channels, patch=16, kernel_size=7, expansion=4, layer_scale=False, classes=1000
):
    scale = 1e-6 if layer_scale else None
    blocks = [ConvNeXtBlock(channels, kernel_size, expansion, scale) for _ in range(depth)]
    return nn.Sequential(nn.Conv2d(3, channels, patch, patch), *blocks, Head(channels, classes))


class PatchMerging(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        four = torch.cat([image[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=1)
        return OnPixels(nn.Sequential(self.norm, self.reduction))(four)


def live_swin(depths, channels, heads, window=7, expansion=4, classes=1000):
    parts = [nn.Conv2d(3, channels, 4, 4), LayerNormChannelsFirst(channels)]
    for i, (depth, n) in enumerate(zip(depths, heads, strict=True)):
        if i > 0:
            parts.append(PatchMerging(channels))
            channels *= 2
        parts += [SwinBlock(channels, n, window, expansion) for _ in range(depth)]
    return nn.Sequential(*parts, Head(channels, classes))


class LiveViT(nn.Module):
    def __init__(self, depth, channels, image=224, patch=16, expansion=4, classes=1000) -> None:
        super().__init__()
        grid = (image, image) if isinstance(image, int) else image
        tokens = (grid[0] // patch) * (grid[1] // patch) + 1
        self.stem = nn.Conv2d(3, channels, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, channels))
        self.positions = nn.Parameter(torch.empty(1, tokens, channels))
        blocks = [TransformerBlock(channels, channels // 32 or 1, expansion) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.stem(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token, patches], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


LIVE = {convnext: live_convnext, convnext_isotropic: live_isotropic, swin: live_swin, vit: LiveViT}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    design = PRESETS[name]
    budget = design.budget()
    assert budget.parameters == design.published
    with torch.device("meta"):
        assert_counted(budget, LIVE[design.build](**design.settings), torch.empty(1, 3, 224, 224))


@settings(random_cases, max_examples=25)
@given(data=st.data())
def test_models_of_any_size(data: st.DataObject) -> None:
    draw = data.draw
    stages, classes, expansion = draw(st.integers(1, 4)), draw(small), draw(small)
    depths = tuple(draw(st.integers(1, 3)) for _ in range(stages))
    dims = tuple(draw(st.integers(1, 8)) for _ in range(stages))
    kernel_size, layer_scale = draw(st.sampled_from([1, 3, 7])), draw(st.booleans())
    image = (draw(st.integers(32, 50)), draw(st.integers(32, 50)))
    shared = {"expansion": expansion, "classes": classes}
    conv_settings = shared | {"kernel_size": kernel_size, "layer_scale": layer_scale}
    heads = tuple(draw(st.sampled_from([1, 2])) for _ in range(stages))
    cases = (
        (convnext, {"depths": depths, "dims": dims, **conv_settings}, image),
        (convnext_isotropic, {"depth": 2, "channels": 5, "patch": 8, **conv_settings}, image),
        (vit, {"depth": 2, "channels": 6, "patch": 8, **shared}, image),
        (
            swin,
            {"depths": depths, "channels": 4, "heads": heads, "window": 2, **shared},
            (64, 128),
        ),
    )
    for formula, arguments, size in cases:
        given_size = {"image": size} if formula is vit else {}
        with torch.device("meta"):
            live = LIVE[formula](**arguments, **given_size)
            assert_counted(formula(image=size, **arguments), live, torch.empty(1, 3, *size))


# --- the facts that the book prints --------------------------------------------------------------


def blocks_of(design: Design) -> int:
    """Count the parameters of the blocks alone."""
    outside = {"stem", "stem norm", "downsampling", "downsampling norm", "head", "head norm"}
    outside |= {"class token, positions"}
    return sum(p.parameters for p in design.budget().parts if p.name not in outside)


@pytest.mark.parametrize(
    ("conv_net", "transformer", "counts"),
    [
        ("ConvNeXt-T", "Swin-T", (26_262_720, 25_959_258)),
        ("ConvNeXt-S", "Swin-S", (47_897_280, 47_277_162)),
        ("ConvNeXt-B", "Swin-B", (84_801_792, 83_974_968)),
        ("ConvNeXt-S iso", "ViT-S", (21_627_648, 21_293_568)),
        ("ConvNeXt-B iso", "ViT-B", (85_722_624, 85_054_464)),
        ("ConvNeXt-L iso", "ViT-L", (304_128_000, 302_309_376)),
    ],
)
def test_three_blocks_for_two(conv_net: str, transformer: str, counts: tuple[int, int]) -> None:
    left, right = PRESETS[conv_net], PRESETS[transformer]
    assert (blocks_of(left), blocks_of(right)) == counts
    assert abs(counts[0] / counts[1] - 1) < 0.016
    depths = [d.settings.get("depths", (d.settings.get("depth"),)) for d in (left, right)]
    assert all(2 * a == 3 * b for a, b in zip(*depths, strict=True))


def test_between_the_stages_too() -> None:
    merging = [PRESETS[n].budget() for n in ("ConvNeXt-T", "Swin-T")]
    counts = [b.part("downsampling").parameters + b.part("downsampling norm").parameters
              for b in merging]  # fmt: skip
    assert counts == [1_550_976, 1_553_664]


def test_shares() -> None:
    for channels, depthwise, pointwise, ffn in (
        (96, "6.05%", "93.6%", "66.35%"),
        (192, "3.14%", "96.7%", "66.51%"),
        (384, "1.60%", "98.3%", "66.59%"),
        (768, "0.81%", "99.1%", "66.63%"),
        (1024, "0.61%", "99.4%", "66.64%"),
    ):
        block = convnext_block(channels)
        assert f"{block.share('depthwise'):.2%}" == depthwise
        assert f"{block.share('expand', 'shrink'):.1%}" == pointwise
        assert f"{transformer_block(channels).share('expand', 'shrink'):.2%}" == ffn


def test_depthwise_is_a_small_part_whatever_its_kernel() -> None:
    three = 3 * conv(96, 96, 3, groups=96)
    one = conv(96, 96, 7, groups=96)
    assert (three.parameters, one.parameters) == (30 * 96, 50 * 96)
    saved = (one.parameters - three.parameters) / convnext_block(96).parameters
    assert f"{saved:.2%}" == "2.42%"
    assert (3 * convnext_block(96, kernel_size=3)).parameters == 226_368


def test_when_the_square_of_the_tokens_weighs() -> None:
    block = transformer_block(768, 196)
    assert f"{block.part('q kᵀ, A v').macs / block.macs:.1%}" == "4.1%"
    at = transformer_block(768, 2 * 768)
    projections = at.part("query, key").macs + at.part("value, output").macs
    assert at.part("q kᵀ, A v").macs == projections


def test_budgets_add_and_multiply() -> None:
    block = convnext_block(8, 4)
    assert (block + block) == 2 * block
    assert sum((block.of_kind(kind).parameters for kind in KINDS), 0) == block.parameters
    assert (2 * block).part("norm").parameters == 32
    assert feed_forward(8).macs == 2 * 8 * 32
