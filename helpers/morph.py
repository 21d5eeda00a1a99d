"""From the Transformer block to the ConvNeXt block, one change at a time.

`MORPH` is the list. Text, figure and ledger read it, and nothing else says what the steps are.
Each step is a real module on images ``(B, C, H, W)``, and the code it shows is the code that runs.

A step is compared with the one before it. Some change nothing but the writing; some free weights
that were tied or fixed; some tie or fix what was free; the rest compute something else. The first
three carry weights across without changing the function, so that a test can hold the list to it.

This is a way to see how the two blocks correspond. It is not the road of the ConvNeXt paper, which
starts from a ResNet, and no accuracies are claimed for the steps between. Milestones: step 2 is the
block of Swin (Liu et al. 2021) without its shift; step 4 has the token mixing of LightConv (Wu et
al. 2019); step 6 that of ConvFormer (Yu et al. 2024), without its widening and its activation.
"""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import gelu

from helpers.blocks import ConvNeXtBlock, TransformerBlock
from helpers.kernels import check_heads, odd_pair
from helpers.mixers import MultiHeadAttention

State = dict[str, Tensor]
EXPANSION = 4


class Kind(StrEnum):
    """How a step stands to the step before it."""

    START = "where it starts"
    SAME = "the same functions, written otherwise"
    FREES = "can do all that the step before can, and more"
    RESTRICTS = "a special case of the step before"
    REPLACES = "computes something else"


@dataclass(frozen=True)
class Cost:
    """What a block costs: its parameters, and its multiply-adds on one image."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Step:
    """One step of the morph.

    Parameters
    ----------
    name
        A few words: what is changed.
    change
        One sentence: how, and what it was before.
    parts
        What the block is built of, by the names of `MorphBlock`.
    run
        The computation, on ``(B, H, W, C)``.
    into, back
        Weights of the step before that give this one's function, and the other way round; each
        takes a state dict and the block that it is for. None where there are none.
    known
        What is known elsewhere by this computation, or by its token mixing.
    """

    name: str
    change: str
    parts: tuple[str, ...]
    run: Callable[[MorphBlock, Tensor], Tensor]
    into: Callable[[State, MorphBlock], State] | None = None
    back: Callable[[State, MorphBlock], State] | None = None
    known: str = ""

    @property
    def number(self) -> int:
        """Place in the list, from 0."""
        return MORPH.index(self)

    @property
    def kind(self) -> Kind:
        """How this step stands to the one before: read off what carries weights across."""
        if self.number == 0:
            return Kind.START
        return {
            (True, True): Kind.SAME,
            (True, False): Kind.FREES,
            (False, True): Kind.RESTRICTS,
            (False, False): Kind.REPLACES,
        }[self.into is not None, self.back is not None]

    @property
    def code(self) -> tuple[str, ...]:
        """The lines of code that this step runs, for ``x`` of shape ``(B, H, W, C)``."""
        source = textwrap.dedent(inspect.getsource(self.run))
        body = textwrap.dedent(source[source.index(":\n") + 2 :])
        return tuple(body.replace("block.", "").splitlines())

    @property
    def diff(self) -> tuple[tuple[str, str], ...]:
        """The code beside that of the step before: pairs of a mark (`"+"`, `"-"`, `" "`), a line.

        Examples
        --------
        >>> for mark, line in MORPH[12].diff:
        ...     print(mark, line)
        - y = depthwise(x, kernel)
        + y = depthwise(x, kernel) + bias
          return x + linear2(gelu(linear1(norm2(y))))
        """
        before = MORPH[max(self.number - 1, 0)].code
        lines = difflib.ndiff(before, self.code)
        return tuple((line[0], line[2:]) for line in lines if line[0] != "?")

    def build(self, channels: int = 96, kernel_size: int = 7, heads: int = 3) -> MorphBlock:
        """Build the block of this step, with weights of PyTorch's own initialisation."""
        return MorphBlock(self, channels, kernel_size, heads)

    def cost(
        self, channels: int = 96, size: int = 56, kernel_size: int = 7, heads: int = 3
    ) -> Cost:
        """Count parameters and multiply-adds on one image of `size` x `size`.

        Multiply-adds are those of Linear layers, convolutions and the products of attention, what
        lies in the padding included. Norms, softmax, biases and skips are not counted. Here is the
        formula; that it is what the block does, a test counts on the running block.

        Examples
        --------
        >>> MORPH[-1].cost()
        Cost(parameters=79296, macs=245962752)
        """
        with torch.device("meta"):  # the weights are counted, not used
            block = self.build(channels, kernel_size, heads)
        linears = [m for m in block.modules() if isinstance(m, nn.Linear)]
        pixels, across = size**2, -(-size // kernel_size)
        queries, keys = {
            "image": (pixels, pixels),
            "window": ((across * kernel_size) ** 2, kernel_size**2),
            "filter": (pixels, kernel_size**2),
        }[self.reach]
        products = 2 if "query" in self.parts else 1  # Q Kᵀ and A V, or A V alone
        return Cost(
            parameters=sum(p.numel() for p in block.parameters()),
            macs=pixels * sum(linear.weight.numel() for linear in linears)
            + products * queries * keys * channels,
        )

    @property
    def reach(self) -> str:
        """What a pixel reads: the ``"image"``, its ``"window"``, or through a ``"filter"``."""
        if any(part.startswith("kernel") for part in self.parts):
            return "filter"
        return "window" if self.number else "image"


class MorphBlock(nn.Module):
    """The one skeleton: has the parts that its step names, and runs the step's code.

    Parameters
    ----------
    step
        An item of `MORPH`.
    channels, kernel_size, heads
        C, k (odd; side of the window and of the filter alike), H (divides C).

    Raises
    ------
    ValueError
        If `heads` does not divide `channels`, or `kernel_size` is even.

    Examples
    --------
    >>> MorphBlock(MORPH[1], channels=8, kernel_size=3, heads=2)(torch.randn(1, 8, 4, 5)).shape
    torch.Size([1, 8, 4, 5])
    """

    def __init__(self, step: Step, channels: int, kernel_size: int, heads: int) -> None:
        super().__init__()
        check_heads(channels, heads)
        odd_pair(kernel_size)
        self.step, self.channels = step, channels
        self.kernel_size, self.n_heads, self.d = kernel_size, heads, channels // heads
        taps, hidden = kernel_size**2, EXPANSION * channels
        for part in step.parts:
            match part:
                case "norm1" | "norm2":
                    self.add_module(part, nn.LayerNorm(channels, eps=1e-6))
                case "query" | "key" | "value" | "output":
                    self.add_module(part, nn.Linear(channels, channels))
                case "linear1":
                    self.linear1 = nn.Linear(channels, hidden)
                case "linear2":
                    self.linear2 = nn.Linear(hidden, channels)
                case "table":  # every offset between two pixels of a window, for each head
                    self.table = nn.Parameter(torch.zeros(heads, (2 * kernel_size - 1) ** 2))
                case "kernel of heads":
                    self.kernel = nn.Parameter(torch.zeros(heads, taps))
                case "kernel of channels":
                    self.kernel = nn.Parameter(torch.zeros(channels, taps))
                case "bias":
                    self.bias = nn.Parameter(torch.zeros(channels))
                case "gamma":
                    self.gamma = nn.Parameter(torch.ones(channels))
        if "table" in step.parts:
            self.register_buffer("offset", _offsets(kernel_size), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block to ``(B, C, H, W)``; gives the same shape."""
        return self.step.run(self, image.movedim(1, -1)).movedim(-1, 1)

    # What the steps' code calls, besides the parts.

    def heads(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` to ``(B, heads, N, d)``."""
        return x.flatten(1, 2).unflatten(2, (self.n_heads, self.d)).transpose(1, 2)

    def merge(self, y: Tensor, x: Tensor) -> Tensor:
        """Undo `heads`: back to the shape of x."""
        return y.transpose(1, 2).reshape(x.shape)

    def windows(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` to ``(B, windows, heads, k*k, d)``; zeros where a window sticks out."""
        k, (batch, height, width, _) = self.kernel_size, x.shape
        x = F.pad(x, (0, 0, 0, -width % k, 0, -height % k))
        x = x.reshape(batch, x.shape[1] // k, k, x.shape[2] // k, k, self.n_heads, self.d)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 2)

    def unwindow(self, y: Tensor, x: Tensor) -> Tensor:
        """Undo `windows`: back to the shape of x."""
        k, (batch, height, width, _) = self.kernel_size, x.shape
        y = y.reshape(batch, -(-height // k), -(-width // k), self.n_heads, k, k, self.d)
        y = y.permute(0, 1, 4, 2, 5, 3, 6).flatten(5)
        return y.flatten(3, 4).flatten(1, 2)[:, :height, :width].reshape(x.shape)

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax over the last axis."""
        return scores.softmax(-1)

    def depthwise(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Depthwise convolution of ``(B, H, W, C)`` with zeros outside; kernel ``(C, k*k)``."""
        k = self.kernel_size
        weight = kernel.reshape(self.channels, 1, k, k)
        y = F.conv2d(x.movedim(-1, 1), weight, padding=k // 2, groups=self.channels)
        return y.movedim(1, -1)


def _offsets(k: int) -> Tensor:
    """Give each pair of pixels of a window the number of its offset: ``(k*k, k*k)``."""
    # Plain numbers: tensor arithmetic on the meta device imports half of PyTorch's compiler.
    at = [(row, column) for row in range(k) for column in range(k)]
    wide, middle = 2 * k - 1, k - 1
    return torch.tensor([[(r - y + middle) * wide + c - x + middle for r, c in at] for y, x in at])


# --- the code of each step ------------------------------------------------------------------------


def _transformer(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    q, k, v = (block.heads(f(y)) for f in (block.query, block.key, block.value))
    a = block.softmax(q @ k.mT / block.d**0.5)
    x = x + block.output(block.merge(a @ v, x))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _window(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    q, k, v = (block.windows(f(y)) for f in (block.query, block.key, block.value))
    a = block.softmax(q @ k.mT / block.d**0.5)
    x = x + block.output(block.unwindow(a @ v, x))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _position(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    q, k, v = (block.windows(f(y)) for f in (block.query, block.key, block.value))
    a = block.softmax(q @ k.mT / block.d**0.5 + block.table[:, block.offset])
    x = x + block.output(block.unwindow(a @ v, x))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _position_only(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    v = block.windows(block.value(y))
    a = block.softmax(block.table[:, block.offset])
    x = x + block.output(block.unwindow(a @ v, x))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _sliding(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    v = block.value(y)
    a = block.softmax(block.kernel).repeat_interleave(block.d, 0)
    x = x + block.output(block.depthwise(v, a))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _signed(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    v = block.value(y)
    a = block.kernel.repeat_interleave(block.d, 0)
    x = x + block.output(block.depthwise(v, a))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _channels(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    v = block.value(y)
    x = x + block.output(block.depthwise(v, block.kernel))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _no_value(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    x = x + block.output(block.depthwise(y, block.kernel))
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _no_out(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.norm1(x)
    x = x + block.depthwise(y, block.kernel)
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _no_norm(block: MorphBlock, x: Tensor) -> Tensor:
    x = x + block.depthwise(x, block.kernel)
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _no_inner_skip(block: MorphBlock, x: Tensor) -> Tensor:
    x = block.depthwise(x, block.kernel)
    return x + block.linear2(gelu(block.linear1(block.norm2(x))))


def _outer_skip(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.depthwise(x, block.kernel)
    return x + block.linear2(gelu(block.linear1(block.norm2(y))))


def _conv_bias(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.depthwise(x, block.kernel) + block.bias
    return x + block.linear2(gelu(block.linear1(block.norm2(y))))


def _layer_scale(block: MorphBlock, x: Tensor) -> Tensor:
    y = block.depthwise(x, block.kernel) + block.bias
    return x + block.gamma * block.linear2(gelu(block.linear1(block.norm2(y))))


# --- weights carried from a step to the next, or back ---------------------------------------------


def _fill(state: State, block: MorphBlock, **given: Tensor) -> State:
    """Take from `state` what `block` has, and the rest from `given`."""
    return {name: given[name] if name in given else state[name] for name in block.state_dict()}


def _zero(name: str) -> Callable[[State, MorphBlock], State]:
    """Set one part to zero: the step before did not have it."""

    def into(state: State, block: MorphBlock) -> State:
        return _fill(state, block, **{name: torch.zeros_like(block.state_dict()[name])})

    return into


def _identity(name: str) -> Callable[[State, MorphBlock], State]:
    """Set one Linear of the step before to the identity: this step does not have it."""

    def back(state: State, block: MorphBlock) -> State:
        weight = torch.eye(block.channels).to(state["kernel"])
        bias = torch.zeros(block.channels).to(weight)
        return _fill(state, block, **{f"{name}.weight": weight, f"{name}.bias": bias})

    return back


def _zero_scores(state: State, block: MorphBlock) -> State:
    """Let the step before compute scores of zero from its input: only positions are left."""
    names = ("query.weight", "query.bias", "key.weight", "key.bias")
    like = state["value.weight"]
    return _fill(state, block, **{n: like.new_zeros(block.state_dict()[n].shape) for n in names})


def _softmaxed(state: State, block: MorphBlock) -> State:
    return _fill(state, block, kernel=state["kernel"].softmax(-1))


def _untied(state: State, block: MorphBlock) -> State:
    return _fill(state, block, kernel=state["kernel"].repeat_interleave(block.d, 0))


def _centre(sign: int) -> Callable[[State, MorphBlock], State]:
    """Move the inner skip into the kernel's centre, or out of it."""

    def carry(state: State, block: MorphBlock) -> State:
        kernel = state["kernel"].clone()
        kernel[:, kernel.shape[1] // 2] += sign
        return _fill(state, block, kernel=kernel)

    return carry


def _scale_of_one(state: State, block: MorphBlock) -> State:
    return _fill(state, block, gamma=torch.ones_like(state["linear2.bias"]))


def _fold_scale(state: State, block: MorphBlock) -> State:
    gamma = state["gamma"]
    weight, bias = gamma[:, None] * state["linear2.weight"], gamma * state["linear2.bias"]
    return _fill(state, block, **{"linear2.weight": weight, "linear2.bias": bias})


# --- the list -------------------------------------------------------------------------------------

_FEED_FORWARD = ("norm2", "linear1", "linear2")
_SCORES = ("query", "key")

#: From the Transformer block to the ConvNeXt block.
MORPH: tuple[Step, ...] = (
    Step(
        "Transformer block",
        "Attention over the whole image, then the feed-forward: a norm before each, a skip around "
        "each.",
        ("norm1", *_SCORES, "value", "output", *_FEED_FORWARD),
        _transformer,
        known="The block of ViT.",
    ),
    Step(
        "A window",
        "A pixel attends to the k x k window that it falls into, and no longer to the whole image. "
        "Where a window sticks out of the image it finds zeros for keys and values.",
        ("norm1", *_SCORES, "value", "output", *_FEED_FORWARD),
        _window,
    ),
    Step(
        "Positions",
        "A learned table adds to each score a number for the offset between the two pixels.",
        ("norm1", *_SCORES, "value", "output", "table", *_FEED_FORWARD),
        _position,
        into=_zero("table"),
        known="Swin's block, without its shift, where windows fit.",
    ),
    Step(
        "Scores from position alone",
        "Q and K go. The table is the whole score: the weights no longer depend on the input.",
        ("norm1", "value", "output", "table", *_FEED_FORWARD),
        _position_only,
        back=_zero_scores,
    ),
    Step(
        "The window slides",
        "Each pixel has a window of its own, centred on it. All pixels then use the same k x k "
        "weights, and the table needs one number for each of them.",
        ("norm1", "value", "output", "kernel of heads", *_FEED_FORWARD),
        _sliding,
        known="The token mixing is LightConv's.",
    ),
    Step(
        "No softmax",
        "The weights may be negative, and need not sum to 1.",
        ("norm1", "value", "output", "kernel of heads", *_FEED_FORWARD),
        _signed,
        into=_softmaxed,
    ),
    Step(
        "A kernel for each channel",
        "The channels of a head no longer share their kernel.",
        ("norm1", "value", "output", "kernel of channels", *_FEED_FORWARD),
        _channels,
        into=_untied,
    ),
    Step(
        "No V",
        "The channels are not mixed before the tokens are.",
        ("norm1", "output", "kernel of channels", *_FEED_FORWARD),
        _no_value,
        back=_identity("value"),
    ),
    Step(
        "No O",
        "Nor are they mixed after it.",
        ("norm1", "kernel of channels", *_FEED_FORWARD),
        _no_out,
        back=_identity("output"),
    ),
    Step(
        "One LayerNorm",
        "The norm before the token mixing goes; the one before the feed-forward stays.",
        ("kernel of channels", *_FEED_FORWARD),
        _no_norm,
    ),
    Step(
        "The inner skip in the kernel",
        "x + conv(x) is one convolution, with 1 added at the centre of each kernel.",
        ("kernel of channels", *_FEED_FORWARD),
        _no_inner_skip,
        into=_centre(1),
        back=_centre(-1),
    ),
    Step(
        "One skip around both",
        "The skip around the feed-forward starts before the convolution: it carries the block's "
        "input, not the convolution's output.",
        ("kernel of channels", *_FEED_FORWARD),
        _outer_skip,
    ),
    Step(
        "A bias in the convolution",
        "One number is added to each channel after the convolution.",
        ("kernel of channels", "bias", *_FEED_FORWARD),
        _conv_bias,
        into=_zero("bias"),
    ),
    Step(
        "Layer scale: the ConvNeXt block",
        "Each channel of the branch is multiplied by a learned number before the skip adds it.",
        ("kernel of channels", "bias", *_FEED_FORWARD, "gamma"),
        _layer_scale,
        into=_scale_of_one,
        back=_fold_scale,
    ),
)


def morph_from_transformer(block: TransformerBlock, kernel_size: int = 7) -> MorphBlock:
    """Build the first step of the morph with the weights of a `TransformerBlock`.

    Raises
    ------
    ValueError
        If the block's expansion is not 4, or its eps not 1e-6, as they are all along the morph.

    Examples
    --------
    >>> morph_from_transformer(TransformerBlock(8, heads=2)).step.name
    'Transformer block'
    """
    _require_same(block.linear1, block.norm2)
    channels = block.linear1.in_features
    built = MORPH[0].build(channels, kernel_size, block.self_attn.num_heads)
    built = built.to(block.linear1.weight)  # before loading, which casts
    attention = MultiHeadAttention.from_torch(block.self_attn)
    state = block.state_dict() | attention.state_dict()
    built.load_state_dict(_fill(state, built))
    return built


def morph_from_convnext(block: ConvNeXtBlock) -> MorphBlock:
    """Build the last step of the morph with the weights of a `ConvNeXtBlock`.

    Raises
    ------
    ValueError
        If the block's expansion is not 4, or it has no layer scale.

    Examples
    --------
    >>> morph_from_convnext(ConvNeXtBlock(8)).step.name
    'Layer scale: the ConvNeXt block'
    """
    if block.gamma is None:
        raise ValueError("the block has no layer scale; the last step of the morph has one.")
    block = _channels_last(block)
    _require_same(block.pwconv1, block.norm)
    channels, kernel_size = block.dwconv.in_channels, block.dwconv.kernel_size[0]
    built = MORPH[-1].build(channels, kernel_size, heads=1).to(block.pwconv1.weight)
    names = {"norm": "norm2", "pwconv1": "linear1", "pwconv2": "linear2"}
    state = {}
    for key, tensor in block.state_dict().items():
        part, _, rest = key.partition(".")
        state[f"{names.get(part, part)}.{rest}" if rest else part] = tensor
    state["kernel"] = state.pop("dwconv.weight").flatten(1)
    state["bias"] = state.pop("dwconv.bias")
    built.load_state_dict(_fill(state, built))
    return built


def _channels_last(block: ConvNeXtBlock) -> ConvNeXtBlock:
    expansion = block.pwconv1.weight.shape[0] // block.dwconv.in_channels
    other = ConvNeXtBlock(block.dwconv.in_channels, block.dwconv.kernel_size[0], expansion)
    other = other.to(block.pwconv1.weight)
    other.load_state_dict(block.state_dict())
    return other


def _require_same(widen: nn.Linear, norm: nn.LayerNorm) -> None:
    expansion = widen.out_features // widen.in_features
    if expansion != EXPANSION:
        raise ValueError(f"the block's expansion is {expansion}, the morph's is {EXPANSION}.")
    if norm.eps != 1e-6:
        raise ValueError(f"the block's eps is {norm.eps}, the morph's is 1e-06.")
