"""The exercises of notebook 10: wiring, a mixer without weights, false statements, a design."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.data import load_digits
from helpers.designs import BUDGET, GRID, BlockDesign, fitting_depth, network
from helpers.exercises.answers import letters_in
from helpers.exercises.core import Exercise, NotAttempted, Wrong, call, register
from helpers.training import Recipe, accuracy, train

CLOSE = 1e-9


def _image(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _require_image(found: Any, image: Tensor, what: str) -> Tensor:
    if not isinstance(found, Tensor):
        raise Wrong(f"{what} should be a tensor; yours is a {type(found).__name__}.")
    if found.shape != image.shape:
        raise Wrong(
            f"{what} has the shape {tuple(found.shape)}; the image has {tuple(image.shape)}, and "
            "the shape stays."
        )
    return found


def _same(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() < CLOSE)


# 10.1: the wiring.


def _check_wire(wire: Any) -> str:
    image = _image(0, 2, 4, 5, 6)
    first, second = (nn.Conv2d(4, 4, 3, padding=1).double() for _ in range(2))

    def scaled(factor: float) -> Callable[[Tensor], Tensor]:
        return lambda x: factor * x + 1

    halves: dict[str, Callable[[Tensor], Tensor]] = {
        "mixer": lambda x: first(x).sin(),
        "feed_forward": lambda x: second(x).cos(),
        "norm1": scaled(0.5),
        "norm2": scaled(-2.0),
    }
    with torch.no_grad():
        found = call(wire, image.clone(), *halves.values())
        found = _require_image(found, image, "wire(...)")
        if _same(found, _wired(image, **halves)):
            return (
                "Each half: normalise, transform, add. Every block of the MetaFormer family is "
                "this function with another mixer in it."
            )
        for sentence, other in _other_wirings(image, **halves).items():
            if _same(found, other):
                raise Wrong(sentence)
    raise Wrong(
        "The output is another. Two lines do it: y = image + mixer(norm1(image)), then the same "
        "with y, feed_forward and norm2."
    )


def _wired(image: Tensor, *, mixer: Any, feed_forward: Any, norm1: Any, norm2: Any) -> Tensor:
    y = image + mixer(norm1(image))
    return y + feed_forward(norm2(y))


def _other_wirings(
    image: Tensor, *, mixer: Any, feed_forward: Any, norm1: Any, norm2: Any
) -> dict[str, Tensor]:
    y = image + mixer(norm1(image))
    mixed = mixer(norm1(image))
    after = norm1(image + mixer(image))
    return {
        "The second skip starts at the image. It carries what the first half gave: y.": (
            image + feed_forward(norm2(y))
        ),
        "That has one skip, around the whole block, as in ConvNeXt. Here each half has its own.": (
            image + feed_forward(norm2(mixed))
        ),
        "The second half has no skip: what it adds is there, what it is added to is missing.": (
            feed_forward(norm2(y))
        ),
        "The first half has no skip: add the image to what the mixer gives.": (
            mixed + feed_forward(norm2(mixed))
        ),
        "The norms stand after the skips, as in the Transformer of 2017. Here each stands before "
        "its half, and the skips go past them.": norm2(after + feed_forward(after)),
        "There is no norm in it.": _wired(
            image, mixer=mixer, feed_forward=feed_forward, norm1=lambda x: x, norm2=lambda x: x
        ),
        "The second norm is missing.": y + feed_forward(y),
        "The two norms have changed places.": _wired(
            image, mixer=mixer, feed_forward=feed_forward, norm1=norm2, norm2=norm1
        ),
        "The halves are side by side: the feed-forward should see what the mixer's half gave.": (
            image + mixed + feed_forward(norm2(image))
        ),
    }


register(
    Exercise(
        id="10.1",
        goal="Write wire(image, mixer, feed_forward, norm1, norm2): two norms, two skips. First "
        "the token mixer's half, then the feed-forward's; each half normalises what it sees and "
        "adds its answer to it. The last four arguments are functions of an image.",
        difficulty=1,
        minutes=5,
        hints=(
            "How many times does a plus sign stand in it? What is on the left of each?",
            "Call what the first half gives y. The second half reads y and is added to y. Each "
            "norm is on the way into its half, not on the skip.",
            "def wire(image, mixer, feed_forward, norm1, norm2):\n"
            "    y = image + mixer(norm1(image))\n"
            "    return ...",
        ),
        checker=_check_wire,
    )
)


# 10.2: a token mixer without weights.


def _shifted(image: Tensor, order: tuple[str, ...] = ("right", "left", "down", "up")) -> Tensor:
    moves = {
        "right": lambda x: F.pad(x, (1, 0))[..., :-1],
        "left": lambda x: F.pad(x, (0, 1))[..., 1:],
        "down": lambda x: F.pad(x, (0, 0, 1, 0))[..., :-1, :],
        "up": lambda x: F.pad(x, (0, 0, 0, 1))[..., 1:, :],
    }
    parts = image.chunk(4, 1)
    return torch.cat([moves[way](part) for way, part in zip(order, parts, strict=True)], 1)


def _rolled(image: Tensor) -> Tensor:
    steps = ((1, 3), (-1, 3), (1, 2), (-1, 2))
    parts = image.chunk(4, 1)
    return torch.cat([part.roll(*step) for part, step in zip(parts, steps, strict=True)], 1)


def _check_shift(shift: Any) -> str:
    for seed, shape in ((0, (2, 8, 5, 6)), (1, (1, 32, 7, 7))):
        image = _image(seed, *shape)
        found = _require_image(call(shift, image.clone()), image, "shift(image)")
        if _same(found, _shifted(image)):
            continue
        slips = {
            "What leaves on one side comes in on the other: that is a roll. Let zeros come in.": (
                _rolled(image)
            ),
            "Right and left, and down and up, have changed places: a pixel that moves to the right "
            "is read from its left.": _shifted(image, ("left", "right", "up", "down")),
            "Rows and columns have changed places: the last axis is the one from left to right.": (
                _shifted(image, ("down", "up", "right", "left"))
            ),
            "All channels move to the right. Each quarter has its own way.": F.pad(image, (1, 0))[
                ..., :-1
            ],
            "Nothing has moved.": image,
        }
        for sentence, other in slips.items():
            if _same(found, other):
                raise Wrong(sentence)
        raise Wrong(
            f"For an image of shape {shape} the output is another. Channels 0 to C/4 - 1 move to "
            "the right: out[:, :C//4, :, 1:] = image[:, :C//4, :, :-1], and zeros in column 0."
        )
    return (
        "A depthwise convolution with one fixed 1 in each kernel: A is a shift, W the identity, "
        "and nothing to learn."
    )


register(
    Exercise(
        id="10.2",
        goal="Write shift(image), a token mixer without a single weight: of the channels of "
        "(B, C, H, W), the first quarter moves one pixel to the right, the second to the left, the "
        "third down, the fourth up. Zeros come in at the border. C is divisible by 4.",
        difficulty=2,
        minutes=10,
        hints=(
            "Move by slicing: what is in columns 0 to W-2 goes to columns 1 to W-1.",
            "Start from zeros of the image's shape. Take the quarters with image.chunk(4, 1), and "
            "write each into its place. Down means: to a larger row number.",
            "def shift(image):\n"
            "    out = torch.zeros_like(image)\n"
            "    q = image.shape[1] // 4\n"
            "    out[:, :q, :, 1:] = image[:, :q, :, :-1]  # to the right\n"
            "    out[:, q:2*q, :, :-1] = ...\n"
            "    ...\n"
            "    return out",
        ),
        checker=_check_shift,
    )
)


# 10.3: find the errors.

FALSE_STATEMENTS = {"a", "c", "d"}
_WHY = {
    "a": "Statement a is false: the wiring differs too. One norm and one skip, or two and two.",
    "b": "Statement b is true: the page loads one's weights into the other and compares.",
    "c": "Statement c is false: the feed-forward mixes channels, whatever the token mixer does. "
    "Pooling's W is the identity, and it needs no other.",
    "d": "Statement d is false: IdentityFormer mixes tokens between its stages, with strided "
    "convolutions.",
    "e": "Statement e is true: 8 C² against 12 C², so three blocks for every two.",
}


def _check_false_statements(answer: Any) -> str:
    chosen = letters_in(answer, "".join(_WHY), example="ae")
    if wrong := sorted(chosen - FALSE_STATEMENTS):
        raise Wrong(_WHY[wrong[0]])
    if len(chosen) < len(FALSE_STATEMENTS):
        raise Wrong(f"What you chose is false, and there is more: {len(chosen)} of 3 found.")
    return " ".join(_WHY[letter] for letter in sorted(FALSE_STATEMENTS))


register(
    Exercise(
        id="10.3",
        goal="Find the three false statements among a to e below.",
        difficulty=2,
        minutes=6,
        hints=(
            "Ask of each: token mixer, channel mixer, or wiring? And in one block, or in the whole "
            "network?",
            "How many fields of BlockDesign differ between ConvNeXt's block and the Transformer's? "
            "Which part of a block mixes channels? What stands between the stages of a network?",
            'false_statements = {"a", ...}',
        ),
        checker=_check_false_statements,
    )
)


# 10.4: a design of one's own.

WITHIN, STEPS, LEAST, SEED, IMAGES = 0.02, 60, 0.5, 0, 500


def reach(mixer: nn.Module, channels: int) -> int:
    """Say how far from the middle of the grid a mixer reads: rows or columns, the larger.

    By the gradient of the middle token, so for any mixer.

    Examples
    --------
    >>> from helpers.mixers import DepthwiseConv
    >>> reach(DepthwiseConv(8, 5), 8)
    2
    """
    image = _image(0, 1, channels, *GRID).float().requires_grad_()
    row, column = (size // 2 for size in GRID)
    (gradient,) = torch.autograd.grad(mixer(image)[0, :, row, column].square().sum(), image)
    read = gradient[0].abs().amax(0).nonzero()
    if not len(read):
        return 0
    return int((read - torch.tensor([row, column])).abs().max())


def _check_design(answer: Any) -> str:
    if isinstance(answer, tuple | list) and all(one is Ellipsis for one in answer):
        raise NotAttempted
    if isinstance(answer, BlockDesign):
        raise Wrong("That is the block. Give the number of blocks too: (design, depth).")
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Wrong("Give a pair: (design, depth).")
    design, depth = answer
    if not isinstance(design, BlockDesign):
        raise Wrong(f"The first should be a BlockDesign; yours is a {type(design).__name__}.")
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise Wrong(f"The second is how many blocks, a whole number from 1; yours is {depth!r}.")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = network(design, depth)
    _check_cost(sum(p.numel() for p in model.parameters()), design, depth)
    far = reach(model.blocks[0].mixer, design.channels)
    if far == 0:
        raise Wrong(
            "No token reads another: A is diagonal in every block. Choose a mixer that mixes."
        )
    if far == 1:
        raise Wrong(
            "A token reads its direct neighbours only. Let it read at least two away in one block: "
            "a larger window, or attention."
        )
    training, test = load_digits()
    train(model, training.subset(IMAGES, SEED), Recipe(steps=STEPS), seed=SEED)
    reached = accuracy(model, test)
    if reached <= LEAST:
        raise Wrong(
            f"Structure and budget are right. After {STEPS} steps it names {reached:.0%} of the "
            f"test images, and more than {LEAST:.0%} is asked for. Which designs of the figure "
            "learn fast? All that were recorded have two norms and two skips."
        )
    return (
        f"On the budget, mixing, and above {LEAST:.0%} after {STEPS} steps: {design.name}, {depth} "
        "blocks. The open end: train it for 300 steps with seeds 0, 1 and 2, and see where it "
        "stands."
    )


def _check_cost(cost: int, design: BlockDesign, depth: int) -> None:
    off = cost / BUDGET - 1
    if abs(off) <= WITHIN:
        return
    block = design.budget().parameters
    best = fitting_depth(design)
    advice = (
        f"with {best} it comes nearest"
        if best != depth
        else "no depth comes nearer: change the block, for instance its expansion"
    )
    raise Wrong(
        f"Your network has {cost:,} parameters, {abs(off):.1%} {'above' if off > 0 else 'below'} "
        f"the budget of {BUDGET:,}; {WITHIN:.0%} are allowed. A block has {block:,}, and you take "
        f"{depth}: {advice}."
    )


register(
    Exercise(
        id="10.4",
        goal=f"Design a network: (design, depth). The least that is asked: with learned positions "
        f"it is within 2 % of {BUDGET:,} parameters; in one block a token reads at least two rows "
        f"or columns away; and after {STEPS} steps on {IMAGES} images (seed {SEED}) it names more "
        f"than half of the test images. From there on it is yours.",
        difficulty=3,
        minutes=15,
        hints=(
            "Begin with the window: which mixers can read two away, and which of them learned fast "
            "in the figure of recorded runs?",
            "Move the figure until it says that a design is within 2 % of the budget, or write the "
            "design and ask fitting_depth(design) for the depth. Where no depth fits, change the "
            "expansion or the norms. The pair is (designer.design, designer.depth).",
            'design = BlockDesign("depthwise", kernel_size=5, expansion=...)\n'
            "my_network = (design, fitting_depth(design))",
        ),
        checker=_check_design,
    )
)
