"""C10: several 3x3 convolutions beside one 7x7."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence, Measured
from helpers.claims.examples import noise, parameters_of, reached, redrawn
from helpers.equivalence import assert_equivalent
from helpers.mixers import DepthwiseConv

WIDTHS = (96, 192, 384, 768)

# Parameters.


def prove_parameters(channels: int = 96) -> dict[str, Evidence]:
    """Count weights without biases, dense and depthwise; then the saving within a block."""
    c = channels
    with torch.device("meta"):
        layers = {
            "dense, three 3x3": (27 * c**2, [nn.Conv2d(c, c, 3, bias=False) for _ in range(3)]),
            "dense, one 7x7": (49 * c**2, [nn.Conv2d(c, c, 7, bias=False)]),
            "depthwise, three 3x3": (27 * c, [DepthwiseConv(c, 3, bias=False) for _ in range(3)]),
            "depthwise, one 7x7": (49 * c, [DepthwiseConv(c, 7, bias=False)]),
        }
    savings = [_saving(width) for width in WIDTHS]
    return {
        f"weights at C = {c}": Counts(
            tuple(
                Count(name, formula, sum(map(parameters_of, convs)))
                for name, (formula, convs) in layers.items()
            )
        ),
        f"saving in a ConvNeXt block, biases included, at C = {WIDTHS[0]}": Measured(
            "share of the block", savings[0], 0.024, 0.025
        ),
        f"and at C = {WIDTHS[-1]}": Measured("share of the block", savings[-1], 0.003, 0.0034),
    }


def _saving(channels: int) -> float:
    block, small = _block_and_three_small(channels)
    return (block - small) / block


def _block_and_three_small(channels: int) -> tuple[int, int]:
    """Count a ConvNeXt block, and the same with three 3x3 depthwise convolutions in it."""
    with torch.device("meta"):
        block = ConvNeXtBlock(channels)
        three = nn.ModuleList(DepthwiseConv(channels, 3) for _ in range(3))
    whole = parameters_of(block)
    return whole, whole - parameters_of(block.dwconv) + parameters_of(three)


def _block_shrinks_like_its_kernel() -> tuple[Tensor, Tensor]:
    counts = torch.tensor([_block_and_three_small(c) for c in WIDTHS], dtype=torch.float64)
    return counts[:, 0] * 27 / 49, counts[:, 1]


# Receptive field.


def prove_reach(
    batch: int = 2, channels: int = 3, height: int = 11, width: int = 12, seed: int = 0
) -> dict[str, Evidence]:
    """Compare three 3x3 with the 7x7 that they make, away from the border; reach; sigma."""
    stack = redrawn(
        nn.Sequential(*(nn.Conv2d(channels, channels, 3, groups=channels) for _ in range(3))), seed
    )
    one = nn.Conv2d(channels, channels, 7, groups=channels).double()
    with torch.no_grad():
        one.weight.copy_(composed([conv.weight for conv in stack]))
        one.bias.copy_(stack(torch.zeros(1, channels, 7, 7).double()).flatten())
    image = noise(seed, batch, channels, height + 6, width + 6)
    return {
        "three 3x3 with nothing between them, and one 7x7, where no border is near": (
            assert_equivalent(stack, one, image, parameters={"2.bias": "bias"})
        ),
        "pixels reached": Counts(
            tuple(
                Count(f"{depth} of {kernel}x{kernel}", (depth * (kernel - 1) + 1) ** 2, reach)
                for kernel, depth, reach in (
                    (kernel, depth, int(_map(_stack(kernel, depth)).count_nonzero()))
                    for kernel, depth in ((7, 1), (3, 3), (3, 4), (3, 5))
                )
            )
        ),
    } | {
        f"equal weights, {depth} of {kernel}x{kernel}, {depth * kernel**2} weights a channel": (
            Measured(
                "sigma of the effect", sigma(_uniform(kernel, depth)), near - 0.01, near + 0.01
            )
        )
        for kernel, depth, near in ((7, 1, 2.0), (3, 3, 1.41), (3, 5, 1.83), (3, 6, 2.0))
    }


def composed(weights: list[Tensor]) -> Tensor:
    """Give the depthwise kernel of several in a row: their convolution, the true one, flipped."""
    channels, _, *size = weights[0].shape
    kernel = weights[0]
    for weight in weights[1:]:
        reach = [k - 1 for k in size]
        kernel = F.conv2d(
            kernel.transpose(0, 1), weight.flip(2, 3), padding=tuple(reach), groups=channels
        ).transpose(0, 1)
    return kernel


def _stack(kernel_size: int, depth: int) -> nn.Module:
    return nn.Sequential(*(DepthwiseConv(4, kernel_size) for _ in range(depth)))


def _map(layer: nn.Module) -> Tensor:
    return reached(redrawn(layer, 0), 4, 15, 15)


def _uniform(kernel_size: int, depth: int) -> Tensor:
    """Give how strongly each pixel acts on the middle one, through equal weights that sum to 1."""
    stack = nn.Sequential(*(DepthwiseConv(1, kernel_size, bias=False) for _ in range(depth)))
    for conv in stack.double():
        conv.weight.data.fill_(1 / kernel_size**2)
    seen = reached(stack, 1, 15, 15)
    return seen / seen.sum()


def sigma(effect: Tensor) -> float:
    """Give the standard deviation of a map of effects along its rows, in pixels."""
    along = effect.sum(0)
    at = torch.arange(len(along), dtype=along.dtype)
    mean = (along * at).sum()
    return (along * (at - mean).square()).sum().sqrt().item()


def _reach_and_sigma_of_stacks() -> tuple[Tensor, Tensor]:
    """Compare three, four and five 3x3 with one 7x7: the ratios of reach, and those of sigma."""
    depths = torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64)
    seven = sigma(_uniform(7, 1))
    spread = [sigma(_uniform(3, int(depth))) / seven for depth in depths]
    return (1 + 2 * depths) / 7, torch.tensor(spread, dtype=torch.float64)


_EQUAL = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)


def corners_only() -> tuple[Tensor, Tensor, Tensor]:
    """Give three 3x3 kernels that make a 7x7 of its four corners, all 1, and nothing else.

    Along a row they are the factors of ``1 + z**6``; everything between the ends cancels.

    Examples
    --------
    >>> composed(list(corners_only()))[0, 0].abs().gt(1e-12).sum().item()
    4
    """
    rows = torch.tensor([[1, 0, 1], [1, 3**0.5, 1], [1, -(3**0.5), 1]], dtype=torch.float64)
    first, second, third = (torch.outer(row, row).view(1, 1, 3, 3) for row in rows)
    return first, second, third


def _best_three_for_a_seven() -> tuple[Tensor, Tensor]:
    """Fit three 3x3 kernels to a random 7x7 one: solve for each in turn, from several starts."""
    target = noise(0, 1, 1, 7, 7)
    best = min(
        (fit_three(target, seed) for seed in range(8)), key=lambda fit: (fit - target).norm()
    )
    return target, best


def fit_three(target: Tensor, seed: int, rounds: int = 40) -> Tensor:
    """Fit three 3x3 kernels in a row to a 7x7, ``(1, 1, 7, 7)``: least squares for each in turn."""
    kernels = [noise(seed + 10 * i, 1, 1, 3, 3) for i in range(3)]
    taps = torch.eye(9, dtype=target.dtype).view(9, 1, 3, 3)
    for turn in range(3 * rounds):
        free = turn % 3
        others = kernels[:free] + kernels[free + 1 :]
        # The nine taps as nine channels, each through the other two kernels.
        columns = composed([taps, *(other.expand(9, 1, 3, 3) for other in others)]).flatten(1).T
        kernels[free] = torch.linalg.lstsq(columns, target.flatten()).solution.view(1, 1, 3, 3)
    return composed(kernels)


def _padded_three_beside_seven() -> tuple[Tensor, Tensor]:
    stack, image = redrawn(_stack(3, 3), 0), noise(1, 1, 4, 8, 9)
    one = DepthwiseConv(4, 7, bias=False).double()
    with torch.no_grad():
        one.weight.copy_(composed([conv.weight for conv in stack]))
        for conv in stack:
            conv.bias.zero_()
        return stack(image), one(image)


CLAIMS = (
    Claim(
        id="C10",
        said="Stacking several 3x3 layers is better than one 7x7, in parameters and in receptive "
        "field.",
        notebook="08_receptive_field",
        parts=(
            Part(
                Verdict.IN_PART,
                "Three 3x3 have fewer weights, 27 for 49, dense or depthwise. But in a ConvNeXt "
                "block, where the pointwise layers hold nearly everything, this saves 0.3 to "
                "2.4 % of the block.",
                prove_parameters,
                (
                    Break(
                        "The block shrinks as its convolution does, to 27/49.",
                        _block_shrinks_like_its_kernel,
                        0.3,
                    ),
                ),
                about="Parameters",
            ),
            Part(
                Verdict.IN_PART,
                "On paper, three 3x3 reach as far as one 7x7, and four or five reach further with "
                "fewer weights, 36 or 45 for 49. In effect it is the other way round: with equal "
                "weights, and on average with random ones, a stack weighs the middle more. Its "
                "sigma is that of the 7x7 with six layers only, which have 54 weights. What "
                "training does to it is another matter. Without a bend between them, three are "
                "one of the 7x7 that 27 numbers can describe.",
                prove_reach,
                (
                    Break(
                        "Equal reach is equal effect.",
                        lambda: (_uniform(7, 1), _uniform(3, 3)),
                        0.3,
                    ),
                    Break(
                        "Reaching further, five 3x3 spread their effect further too.",
                        _reach_and_sigma_of_stacks,
                        0.3,
                    ),
                    Break(
                        "Three 3x3 always weigh the middle more.",
                        lambda: (composed(list(corners_only())), composed([_EQUAL] * 3)),
                        0.3,
                    ),
                    Break(
                        "Some three 3x3 make any 7x7.",
                        _best_three_for_a_seven,
                        0.1,
                    ),
                    Break(
                        "With zero padding they are a 7x7 up to the border.",
                        _padded_three_beside_seven,
                        0.1,
                    ),
                ),
                about="Receptive field",
            ),
        ),
    ),
)
