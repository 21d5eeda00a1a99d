"""C5: neighbours or all tokens, and the difference below that one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence, Source, Sources
from helpers.claims.examples import Shuffled, noise, permutation, reached, redrawn
from helpers.equivalence import assert_equivalent
from helpers.kernels import kernels_to_token
from helpers.mixers import DepthwiseConv, MultiHeadAttention, SlidingAttention
from helpers.mixing import as_mixing
from helpers.tokens import from_tokens, to_tokens

# How far one layer reaches.


def prove_reach(height: int = 9, width: int = 11, kernel_size: int = 3, seed: int = 0) -> Counts:
    """Count the pixels that act on the middle one, by gradients, and by formula."""
    stack = nn.Sequential(*(DepthwiseConv(4, kernel_size) for _ in range(3)))
    layers = {
        "1x1 convolution": (1, nn.Conv2d(4, 4, 1)),
        f"depthwise {kernel_size}x{kernel_size}": (kernel_size, DepthwiseConv(4, kernel_size)),
        "three of them": (3 * (kernel_size - 1) + 1, stack),
        "attention": (2 * max(height, width), MultiHeadAttention(4, 2)),
    }
    counts = []
    for name, (span, layer) in layers.items():
        seen = reached(redrawn(layer, seed), 4, height, width, seed + 1)
        formula = _inside(height, span) * _inside(width, span)
        counts.append(Count(f"pixels reached by {name}", formula, int(seen.count_nonzero())))
    return Counts(tuple(counts))


def _inside(length: int, span: int) -> int:
    """Count the places of a centred span that lie inside a line of this length."""
    middle, reach = length // 2, span // 2
    return min(length, middle + reach + 1) - max(0, middle - reach)


def _global_beside_local() -> tuple[Tensor, Tensor]:
    everywhere = redrawn(MultiHeadAttention(6, 2), 0)
    local = SlidingAttention(6, 2, 3).double()
    local.load_state_dict(everywhere.state_dict())
    image = noise(1, 1, 6, 6, 7)
    with torch.no_grad():
        return everywhere.token_mixing(image), local.token_mixing(image)


def _reach_of_five_beside_fifteen() -> tuple[Tensor, Tensor]:
    """Compare what five 3x3 reach with a square of 15 pixels, the sum of their kernels."""
    stack = nn.Sequential(*(DepthwiseConv(4, 3) for _ in range(5)))
    seen = reached(redrawn(stack, 0), 4, 19, 19)
    return (seen > 0).double(), F.pad(torch.ones(15, 15).double(), (2, 2, 2, 2))


# Static and shared over positions, or computed and shared over channels.


class Rolled(nn.Module):
    """Shift ``(B, C, H, W)`` around its edges."""

    def __init__(self, down: int, right: int) -> None:
        super().__init__()
        self.by = (down, right)

    def forward(self, image: Tensor) -> Tensor:
        """Give the shifted image."""
        return image.roll(self.by, (2, 3))


def prove_symmetries(
    batch: int = 2,
    heads: int = 2,
    head_width: int = 3,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Evidence]:
    """Show what each commutes with: a convolution with shifts, attention with any order."""
    channels = heads * head_width
    image = noise(seed, batch, channels, height, width)
    # Circular padding wraps once around, no more.
    kernel_size = min(kernel_size, 2 * min(height, width) + 1)
    conv = redrawn(DepthwiseConv(channels, kernel_size, padding_mode="circular"), seed + 1)
    attention = redrawn(MultiHeadAttention(channels, heads), seed + 2)
    roll = Rolled(1 + seed % height, 2)
    shuffle = Shuffled(permutation(seed, height * width))
    return {
        "a shift before a convolution with circular padding, and after it": assert_equivalent(
            nn.Sequential(roll, conv),
            nn.Sequential(conv, roll),
            image,
            parameters={"1.weight": "0.weight"},
        ),
        "any shuffle of the pixels before attention, and after it": assert_equivalent(
            nn.Sequential(shuffle, attention),
            nn.Sequential(attention, shuffle),
            image,
            parameters={"1.value.weight": "0.value.weight"},
        ),
        f"for C = {channels} and {heads} heads": count_what_is_shared(
            heads, head_width, height, width, seed
        ),
    }


def count_what_is_shared(
    heads: int = 2, head_width: int = 3, height: int = 5, width: int = 7, seed: int = 0
) -> Counts:
    """Count different rows of A, over all pixels and channels, and what another image changes."""
    height, width = max(height, 2), max(width, 2)  # one token can only look at itself
    channels, pixels = heads * head_width, height * width
    conv = redrawn(DepthwiseConv(channels, 3, padding_mode="circular"), seed)
    attention = redrawn(MultiHeadAttention(channels, heads), seed + 1)
    images = [noise(seed + i, 1, channels, height + 2, width + 2) for i in (2, 3)]
    inner = [image[..., 1:-1, 1:-1].contiguous() for image in images]
    ours = [as_mixing(conv, image).token[0] for image in images]
    # The nine weights that a pixel's row holds, for every pixel away from the border.
    seen = [
        torch.stack(
            [
                a[:, row * (width + 2) + column, _nine_around(row, column, width + 2)]
                for row in range(1, height + 1)
                for column in range(1, width + 1)
            ],
            1,
        )
        for a in ours
    ]
    theirs = [as_mixing(attention, image).token[0] for image in inner]
    per_channel = theirs[0].repeat_interleave(head_width, 0)
    return Counts(
        (
            Count(
                f"different filters of the depthwise convolution, at {pixels} pixels",
                channels,
                _different(seen[0]),
            ),
            Count(
                "different rows of A of the attention",
                heads * pixels,
                _different(per_channel),
            ),
            Count("weights in them that another image changes, depthwise", 0, _changed(*seen)),
            Count("attention", theirs[0].numel(), _changed(*theirs)),
        )
    )


def _nine_around(row: int, column: int, width: int) -> list[int]:
    return [(row + i) * width + column + j for i in (-1, 0, 1) for j in (-1, 0, 1)]


def _different(rows: Tensor) -> int:
    """Count the different rows of ``(C, N, ...)``."""
    return len(torch.unique(rows.flatten(0, 1), dim=0))


def _changed(one: Tensor, other: Tensor) -> int:
    return int((one != other).sum())


def _before_and_after(layer: nn.Module, change: nn.Module) -> tuple[Tensor, Tensor]:
    layer, image = redrawn(layer, 0), noise(1, 2, 6, 6, 7)
    with torch.no_grad():
        return layer(change(image)), change(layer(image))


# What each can and the other cannot.


class TwoHeads(nn.Module):
    """The difference of two heads, each of which looks at one pixel with a weight of 1."""

    def __init__(self, plus: int, minus: int) -> None:
        super().__init__()
        self.plus, self.minus = plus, minus

    def forward(self, image: Tensor) -> Tensor:
        """Apply ``A_plus X - A_minus X`` to ``(B, C, H, W)``."""
        return self.head(self.plus, image) - self.head(self.minus, image)

    @staticmethod
    def head(at: int, image: Tensor) -> Tensor:
        """Apply the A that looks at the left neighbour (0), the pixel (1) or the right one (2)."""
        one_hot = torch.eye(3).to(image).view(1, 3, 1, 3, 1, 1)
        grid = tuple(image.shape[2:])
        return from_tokens(kernels_to_token(one_hot, grid)[0, at] @ to_tokens(image), grid)


def prove_two_heads_find_an_edge(
    batch: int = 2, channels: int = 3, height: int = 5, width: int = 7, seed: int = 0
) -> dict[str, Evidence]:
    """Compare the filter [-1, 0, 1] with two heads of opposite sign."""
    image = noise(seed, batch, channels, height, width + 1)  # one pixel wide has no edge
    return {
        "the filter [-1, 0, 1] and the difference of two heads": assert_equivalent(
            lambda x: _filter(x, -1, 0, 1), TwoHeads(plus=2, minus=0), image
        ),
        "the filter [-1, 1, 0], and a skip less one head": assert_equivalent(
            lambda x: _filter(x, -1, 1, 0), lambda x: x - TwoHeads(0, 0).head(0, x), image
        ),
        "models that use both": Sources(
            (
                Source(
                    "depthwise convolution first and attention later reach 86.0 % on ImageNet-1K",
                    "Dai et al. 2021, CoAtNet",
                ),
                Source(
                    "CAFormer, convolution below and attention above, reaches 85.5 % at 224 pixels",
                    "Yu et al. 2024, MetaFormer Baselines for Vision",
                ),
            )
        ),
    }


def _filter(image: Tensor, *taps: float) -> Tensor:
    kernel = torch.tensor(taps).to(image).expand(image.shape[1], 1, 1, 3)
    return F.conv2d(image, kernel, padding=(0, 1), groups=image.shape[1])


def _edge_by_one_head() -> tuple[Tensor, Tensor]:
    """Compare the edge filter with what one head, its value scaled at will, can give at best.

    Weights that may not change sign: the positive part of the filter, or the negative one,
    whichever holds more of its energy.
    """
    image = noise(0, 1, 2, 8, 9)
    kernel = torch.tensor([-1.0, 0.0, 1.0]).double()
    best = max(kernel.clamp(min=0), kernel.clamp(max=0), key=lambda part: part.norm().item())
    sides = [F.conv2d(image, k.expand(2, 1, 1, 3), groups=2) for k in (kernel, best)]
    return sides[0], sides[1]


def _attention_by_a_fixed_matrix() -> tuple[Tensor, Tensor]:
    """Compare attention with its own average A over many images: the best guess without looking."""
    attention = redrawn(MultiHeadAttention(6, 2, bias=False), 0)
    with torch.no_grad():
        mean = attention.token_mixing(noise(1, 64, 6, 4, 5)).mean(0)
        image = noise(2, 1, 6, 4, 5)
        frozen = (mean @ to_tokens(image) @ as_mixing(attention, image).channel).sum(0)
        return to_tokens(attention(image))[0], frozen


CLAIMS = (
    Claim(
        id="C5",
        said="A convolution makes new features of neighbouring ones; attention finds relations "
        "over the whole sequence. The two complement each other.",
        notebook="04_who_chooses_the_weights",
        also=("08_receptive_field", "09_learning_from_little"),
        parts=(
            Part(
                Verdict.RIGHT,
                "In one layer a k x k convolution reaches k² pixels, attention all of them. "
                "Attention in windows is local too, and a deep stack of convolutions is not.",
                prove_reach,
                (
                    Break("Attention always looks at all tokens.", _global_beside_local, 0.3),
                    Break(
                        "Kernels add up: five 3x3 convolutions reach 15 pixels across.",
                        _reach_of_five_beside_fifteen,
                        0.5,
                    ),
                ),
                about="Neighbours and all tokens",
            ),
            Part(
                Verdict.RIGHT,
                "Nothing in the contrast is false, and reach is not the deeper difference, which "
                "the essay leaves out. A depthwise convolution's weights are fixed "
                "after training, shared by all positions, and another set for each channel. "
                "Attention's are computed from each input, another set for each position, and "
                "shared by the channels of a head. So a convolution respects shifts, border "
                "apart, and attention without positions respects any order at all.",
                prove_symmetries,
                (
                    Break(
                        "A convolution does not notice a shuffle of the pixels either.",
                        lambda: _before_and_after(
                            DepthwiseConv(6, 3), Shuffled(permutation(2, 42))
                        ),
                        0.5,
                    ),
                    Break(
                        "With zero padding a convolution still respects circular shifts.",
                        lambda: _before_and_after(DepthwiseConv(6, 3), Rolled(1, 2)),
                        0.3,
                    ),
                    Break(
                        "With learned positions attention still does not notice a shuffle.",
                        lambda: _before_and_after(
                            SlidingAttention(6, 2, 13, scores="content+position"),
                            Shuffled(permutation(2, 42)),
                        ),
                        0.1,
                    ),
                ),
                about="What lies below it",
            ),
            Part(
                Verdict.RIGHT,
                "A filter can subtract a neighbour. A softmax head can only average: to subtract, "
                "it needs a second head, or a skip. Attention can look where the image tells it; "
                "a filter looks in the same places always. That models that use both do well fits "
                "this, and does not show it.",
                prove_two_heads_find_an_edge,
                (
                    Break("One softmax head can find an edge.", _edge_by_one_head, 0.3),
                    Break(
                        "Weights fixed once, the mean over many images, do what attention does.",
                        _attention_by_a_fixed_matrix,
                        0.3,
                    ),
                ),
                about="They complement each other",
            ),
        ),
    ),
)
