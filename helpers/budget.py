"""What a block costs: exact parameter and multiply-add counts, part by part, by formula.

Parameters are all learned numbers, biases included. MACs are multiply-adds on one image: those of
Linear layers, of convolutions (taps that fall on the padding included) and of the two products of
attention, ``q kᵀ`` and ``A v``. Biases, norms, activations, softmax, layer scale, skips and pooling
are left out. Papers call the same number "FLOPs"; `torch.utils.flop_counter` counts a multiply-add
twice, so half of what it reports is our number. `measure` counts a live module that way.

Each part says which side of the mixing equation it belongs to, so that a budget can be read as
"so much for A, so much for W".

Sources: Liu et al. (2022), "A ConvNet for the 2020s", section 2; Liu et al. (2021), "Swin
Transformer", section 3; Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words",
section 3.1. The formulas are derived here and tested against live modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.kernels import check_heads, odd_pair

Grid = int | tuple[int, int]

#: What a part does: A mixes tokens, W mixes channels, a dense convolution both at once; the rest
#: (norms, layer scale, positions) treats each token by itself.
KINDS = ("tokens", "channels", "both", "each token")


# --- a budget ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One line of a budget.

    Parameters
    ----------
    name
        What it is.
    kind
        One of `KINDS`.
    parameters, macs
        What it costs.
    """

    name: str
    kind: str
    parameters: int
    macs: int = 0


@dataclass(frozen=True, repr=False)
class Budget:
    """The costs of a block or a model: a list of parts. Prints as a table.

    Budgets add up, and ``3 * budget`` is three of it: parts of one name are put together.

    Examples
    --------
    >>> linear(96, 384, tokens=3136) + linear(384, 96, tokens=3136, name="shrink")
    part        kind      parameters         MACs
    Linear      channels      37,248  115,605,504
    shrink      channels      36,960  115,605,504
    total                     74,208  231,211,008
    """

    parts: tuple[Part, ...]

    @property
    def parameters(self) -> int:
        """All learned numbers, biases included."""
        return sum(part.parameters for part in self.parts)

    @property
    def macs(self) -> int:
        """All multiply-adds on one image."""
        return sum(part.macs for part in self.parts)

    def part(self, name: str) -> Part:
        """Give the part of this name.

        Raises
        ------
        KeyError
            If there is none; the message lists those there are.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no part {name!r}: there are {', '.join(p.name for p in self.parts)}.")

    def of_kind(self, kind: str) -> Budget:
        """Give the parts of one kind.

        Examples
        --------
        >>> convnext_block(96).of_kind("channels").parameters
        74208
        """
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: expected one of {', '.join(map(repr, KINDS))}.")
        return Budget(tuple(part for part in self.parts if part.kind == kind))

    def share(self, *names: str) -> float:
        """Give the share of some parts in the parameters.

        Examples
        --------
        >>> f"{convnext_block(96).share('depthwise'):.2%}"
        '6.05%'
        """
        return sum(self.part(name).parameters for name in names) / self.parameters

    def __add__(self, other: Budget) -> Budget:
        merged: dict[tuple[str, str], Part] = {}
        for part in (*self.parts, *other.parts):
            key = (part.name, part.kind)
            before = merged.get(key, Part(*key, 0))
            merged[key] = replace(
                before,
                parameters=before.parameters + part.parameters,
                macs=before.macs + part.macs,
            )
        return Budget(tuple(merged.values()))

    def __rmul__(self, times: int) -> Budget:
        return Budget(
            tuple(
                replace(p, parameters=times * p.parameters, macs=times * p.macs) for p in self.parts
            )
        )

    def __repr__(self) -> str:
        head = ("part", "kind", "parameters", "MACs")
        rows = [(p.name, p.kind, f"{p.parameters:,}", f"{p.macs:,}") for p in self.parts]
        total = ("total", "", f"{self.parameters:,}", f"{self.macs:,}")
        table = [head, *rows, total]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        return "\n".join(
            f"{row[0]:<{max(widths[0], 10)}}  {row[1]:<{widths[1]}}  "
            f"{row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            for row in table
        )


def measure(module: nn.Module, *inputs: Tensor) -> Part:
    """Count a live module: its parameters, and its MACs on these inputs.

    Parameters
    ----------
    module
        Any module. Where it keeps running statistics, call .eval() first: it is run once.
    *inputs
        What it is called with. Give one image: the MACs are those of the whole batch.

    Examples
    --------
    >>> measure(nn.Linear(96, 384), torch.zeros(1, 3136, 96)).macs
    115605504
    """
    # The counter does not know the fused forms of attention. With gradients, and with the plain
    # backend, its two products are products that it sees.
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.enable_grad(), plain, FlopCounterMode(display=False) as counter:
        module(*inputs)
    parameters = sum(p.numel() for p in module.parameters())
    return Part(type(module).__name__, "both", parameters, counter.get_total_flops() // 2)


# --- layers --------------------------------------------------------------------------------------


def linear(
    in_channels: int, out_channels: int, tokens: int = 1, bias: bool = True, name: str = "Linear"
) -> Budget:
    """Count a Linear on every token: ``C_in C_out + C_out`` parameters, ``N C_in C_out`` MACs.

    Examples
    --------
    >>> linear(64, 256, bias=False).parameters
    16384
    """
    _check_positive(in_channels=in_channels, out_channels=out_channels, tokens=tokens)
    weights = in_channels * out_channels
    return _one(name, "channels", weights + bias * out_channels, tokens * weights)


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    positions: int = 1,
    groups: int = 1,
    bias: bool = True,
    name: str = "Conv2d",
) -> Budget:
    """Count a convolution: ``k² C_in C_out / G + C_out`` parameters.

    MACs are the weights, ``k² C_in C_out / G``, once for each output position.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, groups, bias
        As in `nn.Conv2d`.
    positions
        N_out, how many output positions there are.
    name
        What the line is called.

    Raises
    ------
    ValueError
        If `groups` does not divide both numbers of channels, or a number is below 1.

    Examples
    --------
    >>> [conv(96, 96, 7, groups=g, bias=False).parameters for g in (1, 96)]
    [451584, 4704]
    """
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    _check_positive(
        in_channels=in_channels, out_channels=out_channels, positions=positions, groups=groups
    )
    _check_positive(kernel_size=min(height, width))
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"groups={groups} does not divide in_channels={in_channels} and out_channels="
            f"{out_channels}: each group takes its share of both."
        )
    weights = height * width * in_channels * out_channels // groups
    kind = "tokens" if groups == in_channels > 1 else "both"
    if height == width == 1:
        kind = "channels"
    return _one(name, kind, weights + bias * out_channels, positions * weights)


def layer_norm(channels: int, name: str = "norm") -> Budget:
    """Count a LayerNorm: ``2 C`` parameters, no MACs."""
    _check_positive(channels=channels)
    return _one(name, "each token", 2 * channels)


def attention(channels: int, tokens: int, span: int | None = None, bias: bool = True) -> Budget:
    """Count multi-head attention: ``4 C² + 4 C`` parameters, ``4 C² N + 2 C N M`` MACs.

    The number of heads is not in it: H heads of width C / H cost what one of width C does.

    Parameters
    ----------
    channels, tokens
        C and N.
    span
        M, how many keys a query looks at; by default all N.
    bias
        Whether the four projections have a bias.

    Examples
    --------
    >>> attention(512, tokens=1).parameters
    1050624
    """
    span = tokens if span is None else span
    _check_positive(channels=channels, tokens=tokens, span=span)
    projections = {
        "query, key": ("tokens", 2),
        "value, output": ("channels", 2),
    }
    parts = [
        Part(
            name,
            kind,
            n * (channels**2 + bias * channels),
            n * tokens * channels**2,
        )
        for name, (kind, n) in projections.items()
    ]
    # One product for the scores, one for the sum of the values: C numbers for each pair.
    products = Part("q kᵀ, A v", "tokens", 0, 2 * channels * tokens * span)
    return Budget((parts[0], products, parts[1]))


def feed_forward(channels: int, tokens: int = 1, expansion: int = 4) -> Budget:
    """Count the feed-forward without its norm: ``2 e C² + (e + 1) C`` parameters.

    MACs are ``2 e C² N``; e is the expansion.

    Examples
    --------
    >>> feed_forward(96).parameters
    74208
    """
    _check_positive(expansion=expansion)
    hidden = expansion * channels
    return linear(channels, hidden, tokens, name="expand") + linear(
        hidden, channels, tokens, name="shrink"
    )


# --- blocks --------------------------------------------------------------------------------------


def convnext_block(
    channels: int,
    tokens: int = 1,
    kernel_size: int | tuple[int, int] = 7,
    expansion: int = 4,
    layer_scale: bool = True,
) -> Budget:
    """Count a ConvNeXt block: ``8 C² + (k² + 9) C`` parameters, ``(8 C² + k² C) N`` MACs.

    Without layer scale ``8 C² + (k² + 8) C`` parameters. These are for the paper's expansion of 4.

    Parameters
    ----------
    channels, tokens
        C, and N = height x width.
    kernel_size
        k of the depthwise convolution; odd.
    expansion
        How many times wider the hidden layer is.
    layer_scale
        Whether there is a factor for each channel.

    Examples
    --------
    >>> convnext_block(96, tokens=56 * 56)
    part         kind        parameters         MACs
    depthwise    tokens           4,800   14,751,744
    norm         each token         192            0
    expand       channels        37,248  115,605,504
    shrink       channels        36,960  115,605,504
    layer scale  each token          96            0
    total                        79,296  245,962,752
    """
    kernel = odd_pair(kernel_size)
    depthwise = conv(channels, channels, kernel, tokens, groups=channels, name="depthwise")
    depthwise = Budget((replace(depthwise.parts[0], kind="tokens"),))  # with one channel too
    block = depthwise + layer_norm(channels) + feed_forward(channels, tokens, expansion)
    if layer_scale:
        block += _one("layer scale", "each token", channels)
    return block


def transformer_block(channels: int, tokens: int = 1, expansion: int = 4) -> Budget:
    """Count a Transformer block: ``12 C² + 13 C`` parameters, ``12 C² N + 2 C N²`` MACs.

    The number of heads is not in it. These are for the usual expansion of 4.

    Parameters
    ----------
    channels, tokens, expansion
        C, N, and how many times wider the hidden layer is.

    Examples
    --------
    >>> transformer_block(384).parameters == 12 * 384**2 + 13 * 384 == 1_774_464
    True
    """
    return _attention_block(channels, tokens, expansion, attention(channels, tokens))


def swin_block(
    channels: int, heads: int, tokens: int = 49, window: int = 7, expansion: int = 4
) -> Budget:
    """Count a Swin block: ``12 C² + 13 C + (2 M - 1)² H`` parameters, ``12 C² N + 2 C N M²`` MACs.

    With windows of 7 the table of positions has ``169 H`` numbers.

    Parameters
    ----------
    channels, heads
        C, and H that divides it.
    tokens
        N = height x width; whole windows.
    window
        M, the side of a window.
    expansion
        How many times wider the hidden layer is.

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or N tokens are no whole windows.

    Examples
    --------
    >>> swin_block(96, heads=3, tokens=56 * 56).parameters
    112347
    """
    check_heads(channels, heads)
    _check_positive(window=window)
    if tokens % window**2:
        raise ValueError(
            f"tokens={tokens} are no whole windows of {window} x {window} = {window**2}: pad the "
            "image, or take another window."
        )
    mixing = attention(channels, tokens, span=window**2)
    table = _one("position table", "tokens", (2 * window - 1) ** 2 * heads)
    return _attention_block(channels, tokens, expansion, mixing + table)


def _attention_block(channels: int, tokens: int, expansion: int, mixing: Budget) -> Budget:
    norms = layer_norm(channels) + layer_norm(channels)
    return norms + mixing + feed_forward(channels, tokens, expansion)


# --- whole models --------------------------------------------------------------------------------


def convnext(
    depths: Iterable[int] = (3, 3, 9, 3),
    dims: Iterable[int] = (96, 192, 384, 768),
    image: Grid = 224,
    kernel_size: int | tuple[int, int] = 7,
    expansion: int = 4,
    layer_scale: bool = True,
    classes: int = 1000,
) -> Budget:
    """Count a ConvNeXt: stem, stages with downsampling between them, norm, head.

    Parameters
    ----------
    depths, dims
        How many blocks and how many channels each stage has.
    image
        Height and width, or one number for both.
    kernel_size, expansion, layer_scale
        As in `convnext_block`.
    classes
        How many the head tells apart.

    Raises
    ------
    ValueError
        If the lists differ in length, or nothing is left of the image.

    Examples
    --------
    >>> convnext().parameters
    28589128
    """
    stages = _stages(depths, dims)
    grid = _shrink(_grid(image), 4, "stem")
    model, before = Budget(()), 3
    for i, (depth, channels) in enumerate(stages):
        if i == 0:
            model += conv(before, channels, 4, _area(grid), name="stem")
            model += layer_norm(channels, name="stem norm")
        else:
            grid = _shrink(grid, 2, f"downsampling before stage {i + 1}")
            model += layer_norm(before, name="downsampling norm")
            model += conv(before, channels, 2, _area(grid), name="downsampling")
        tokens = _area(grid)
        model += depth * convnext_block(channels, tokens, kernel_size, expansion, layer_scale)
        before = channels
    return model + _head(before, classes)


def convnext_isotropic(
    depth: int = 18,
    channels: int = 384,
    image: Grid = 224,
    patch: int = 16,
    kernel_size: int | tuple[int, int] = 7,
    expansion: int = 4,
    layer_scale: bool = False,
    classes: int = 1000,
) -> Budget:
    """Count an isotropic ConvNeXt: patches as in ViT, one stage, norm, head.

    Parameters
    ----------
    depth, channels
        How many blocks, of how many channels.
    image, patch
        Height and width, or one number for both; the side of a patch.
    kernel_size, expansion, layer_scale
        As in `convnext_block`.
    classes
        How many the head tells apart.

    Examples
    --------
    >>> convnext_isotropic().parameters
    22308712
    """
    tokens = _area(_shrink(_grid(image), patch, "stem"))
    stem = conv(3, channels, patch, tokens, name="stem")
    _check_positive(depth=depth)
    block = convnext_block(channels, tokens, kernel_size, expansion, layer_scale)
    return stem + depth * block + _head(channels, classes)


def swin(
    depths: Iterable[int] = (2, 2, 6, 2),
    channels: int = 96,
    heads: Iterable[int] = (3, 6, 12, 24),
    image: Grid = 224,
    window: int = 7,
    expansion: int = 4,
    classes: int = 1000,
) -> Budget:
    """Count a Swin Transformer: patches, stages with patch merging between them, norm, head.

    Parameters
    ----------
    depths, heads
        How many blocks and heads each stage has.
    channels
        C of the first stage; each stage has twice that of the one before.
    image
        Height and width, or one number for both.
    window
        M. Each stage must be whole windows high and wide.
    expansion, classes
        As in `convnext`.

    Examples
    --------
    >>> swin().parameters
    28288354
    """
    stages = _stages(depths, heads, "heads")
    grid = _shrink(_grid(image), 4, "stem")
    model = conv(3, channels, 4, _area(grid), name="stem") + layer_norm(channels, "stem norm")
    for i, (depth, n_heads) in enumerate(stages):
        if i > 0:
            grid = _shrink(grid, 2, f"patch merging before stage {i + 1}")
            model += layer_norm(4 * channels, name="downsampling norm")
            model += conv(channels, 2 * channels, 2, _area(grid), bias=False, name="downsampling")
            channels *= 2
        for side in grid:
            if side % window:
                raise ValueError(
                    f"stage {i + 1} is {grid[0]} x {grid[1]} tokens: windows of {window} x "
                    f"{window} do not fill it. Take an image of a multiple of "
                    f"{window * 4 * 2 ** (len(stages) - 1)}, or another window."
                )
        model += depth * swin_block(channels, n_heads, _area(grid), window, expansion)
    return model + _head(channels, classes)


def vit(
    depth: int = 12,
    channels: int = 768,
    image: Grid = 224,
    patch: int = 16,
    expansion: int = 4,
    classes: int = 1000,
) -> Budget:
    """Count a ViT: patches, a class token, learned positions, blocks, norm, head.

    Parameters
    ----------
    depth, channels
        How many blocks, of how many channels.
    image, patch
        Height and width, or one number for both; the side of a patch.
    expansion, classes
        As in `convnext`.

    Examples
    --------
    >>> vit().parameters
    86567656
    """
    patches = _area(_shrink(_grid(image), patch, "stem"))
    tokens = patches + 1  # and the class token
    _check_positive(depth=depth)
    model = conv(3, channels, patch, patches, name="stem")
    model += _one("class token, positions", "each token", (1 + tokens) * channels)
    return model + depth * transformer_block(channels, tokens, expansion) + _head(channels, classes)


# --- published models ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """A published model: how its budget is counted, and the parameters it must come to.

    Parameters
    ----------
    build
        `convnext`, `convnext_isotropic`, `swin` or `vit`.
    published
        Parameters of the released model, counted on the live module.
    settings
        The arguments of `build`.
    """

    build: Callable[..., Budget]
    published: int
    settings: Mapping[str, object] = field(default_factory=dict)

    def budget(self, **changes: object) -> Budget:
        """Count it, with some settings changed.

        Raises
        ------
        TypeError
            If a setting has another name; the message lists those there are.

        Examples
        --------
        >>> PRESETS["ConvNeXt-T"].budget().macs
        4455531264
        >>> PRESETS["ConvNeXt-T"].budget(kernel_size=3).parameters
        28324168
        """
        known = list(inspect.signature(self.build).parameters)
        for name in changes:
            if name not in known:
                raise TypeError(f"no setting {name!r}: there are {', '.join(known)}.")
        return self.build(**{**self.settings, **changes})


def _convnext(published: int, depths: tuple[int, ...], width: int) -> Design:
    dims = tuple(width * 2**i for i in range(4))
    return Design(convnext, published, {"depths": depths, "dims": dims})


def _isotropic(published: int, depth: int, channels: int, layer_scale: bool = False) -> Design:
    settings = {"depth": depth, "channels": channels, "layer_scale": layer_scale}
    return Design(convnext_isotropic, published, settings)


def _swin(published: int, depths: tuple[int, ...], channels: int) -> Design:
    heads = tuple(channels // 32 * 2**i for i in range(4))
    return Design(swin, published, {"depths": depths, "channels": channels, "heads": heads})


def _vit(published: int, depth: int, channels: int) -> Design:
    return Design(vit, published, {"depth": depth, "channels": channels})


#: Models at 224 x 224 with 1,000 classes, and the parameters of the released ones.
PRESETS: Mapping[str, Design] = MappingProxyType(
    {
        "ConvNeXt-T": _convnext(28_589_128, (3, 3, 9, 3), 96),
        "ConvNeXt-S": _convnext(50_223_688, (3, 3, 27, 3), 96),
        "ConvNeXt-B": _convnext(88_591_464, (3, 3, 27, 3), 128),
        "ConvNeXt-L": _convnext(197_767_336, (3, 3, 27, 3), 192),
        "ConvNeXt-XL": _convnext(350_196_968, (3, 3, 27, 3), 256),
        "ConvNeXt-S iso": _isotropic(22_308_712, 18, 384),
        "ConvNeXt-B iso": _isotropic(87_083_752, 18, 768),
        # The paper turns layer scale off for S and B alone (appendix A).
        "ConvNeXt-L iso": _isotropic(305_942_504, 36, 1024, layer_scale=True),
        "Swin-T": _swin(28_288_354, (2, 2, 6, 2), 96),
        "Swin-S": _swin(49_606_258, (2, 2, 18, 2), 96),
        "Swin-B": _swin(87_768_224, (2, 2, 18, 2), 128),
        "ViT-S": _vit(22_050_664, 12, 384),
        "ViT-B": _vit(86_567_656, 12, 768),
        "ViT-L": _vit(304_326_632, 24, 1024),
    }
)


# --- shared --------------------------------------------------------------------------------------


def _one(name: str, kind: str, parameters: int, macs: int = 0) -> Budget:
    return Budget((Part(name, kind, parameters, macs),))


def _head(channels: int, classes: int) -> Budget:
    return layer_norm(channels, name="head norm") + linear(channels, classes, name="head")


def _grid(image: Grid) -> tuple[int, int]:
    grid = (image, image) if isinstance(image, int) else tuple(image)
    _check_positive(image=min(grid))
    return grid


def _area(grid: tuple[int, int]) -> int:
    return grid[0] * grid[1]


def _shrink(grid: tuple[int, int], stride: int, where: str) -> tuple[int, int]:
    """Give the size after a convolution whose kernel is its stride; a remainder is cut off."""
    small = (grid[0] // stride, grid[1] // stride)
    if 0 in small:
        raise ValueError(
            f"nothing is left of the image at the {where}: it is {grid[0]} x {grid[1]} there, and "
            f"shrinks {stride}-fold. Take a larger image."
        )
    return small


def _stages(
    depths: Iterable[int], widths: Iterable[int], name: str = "dims"
) -> list[tuple[int, int]]:
    depths, widths = tuple(depths), tuple(widths)
    if len(depths) != len(widths) or not depths:
        raise ValueError(
            f"depths has {len(depths)} stages, {name} has {len(widths)}: expected as many, and at "
            "least one."
        )
    _check_positive(depths=min(depths), **{name: min(widths)})
    return list(zip(depths, widths, strict=True))


def _check_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}={value!r}: expected a whole number.")
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1.")
