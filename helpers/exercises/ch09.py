"""The exercises of notebook 09: a gap and its shares, controls, learned filters and heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.exercises.answers import false_statements
from helpers.exercises.core import Exercise, NotAttempted, Wrong, call, register
from helpers.experiments import trained
from helpers.models import PatchClassifier, small_convnext

CLOSE = 1e-6


def _require_number(value: Any, what: str) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise Wrong(f"{what} should be one number; yours is a {type(value).__name__}{shape}.")
    return float(value)


# 09.1: the share of the gap.


def _check_share(share_of_gap: Any) -> str:
    cases = (
        ([0.80, 0.84], [0.70, 0.72], [0.46, 0.50]),
        ([0.95, 0.96, 0.97], [0.93, 0.95, 0.92], [0.80, 0.86, 0.86]),
        ([0.9], [0.9], [0.5]),
    )
    for case in cases:
        straight, shuffled, other = (torch.tensor(one, dtype=torch.float64) for one in case)
        given = (straight.clone(), shuffled.clone(), other.clone())
        found = _require_number(call(share_of_gap, *given), "share_of_gap(...)")
        gap = straight.mean() - other.mean()
        wanted = ((straight.mean() - shuffled.mean()) / gap).item()
        if abs(found - wanted) > CLOSE:
            raise Wrong(_why_the_share_is_wrong(found, straight, shuffled, other))
    return (
        "What the shuffle costs, over the whole gap. The rest is what the shuffle cannot explain."
    )


def _why_the_share_is_wrong(found: float, straight: Tensor, shuffled: Tensor, other: Tensor) -> str:
    lost = straight.mean() - shuffled.mean()
    gap = straight.mean() - other.mean()
    slips = {
        "That is the share that is left: the shuffled convnet's lead, over the gap. Locality's "
        "share is what the shuffle took.": (shuffled.mean() - other.mean()) / gap,
        "That is what the shuffle costs, in accuracy. Its share of the gap is that, divided by the "
        "gap.": lost,
        "That is the gap itself.": gap,
        "You divided by the convnet's accuracy. The question is which part of the gap it is: "
        "divide by the gap.": lost / straight.mean(),
        "You averaged the shares of single seeds. A seed with a small gap then counts as much as "
        "one with a large gap: take the means first.": (
            (straight - shuffled) / (straight - other)
        ).mean(),
        "The sign is wrong: subtract the shuffled accuracy from the straight one.": -lost / gap,
    }
    for sentence, value in slips.items():
        if abs(found - value.item()) < CLOSE:
            return sentence
    return (
        f"For straight {straight.tolist()}, shuffled {shuffled.tolist()} and ViT {other.tolist()} "
        f"you give {found:.3f}. First the mean of each; then what was lost, over the gap."
    )


register(
    Exercise(
        id="09.1",
        goal="Write share_of_gap(straight, shuffled, vit): which share of the gap between convnet "
        "and ViT goes away when the convnet's patches are shuffled. Each argument is a tensor with "
        "an accuracy for each seed; the answer is one number, 1.0 for the whole gap.",
        difficulty=1,
        minutes=5,
        hints=(
            "Two differences are in the sentence: what the shuffle costs the convnet, and how far "
            "the convnet is ahead of the ViT. Which of them is the whole?",
            "Take the mean of each tensor first. Then (straight - shuffled) over (straight - vit).",
            "def share_of_gap(straight, shuffled, vit):\n"
            "    gap = straight.mean() - vit.mean()\n"
            "    lost = ...\n"
            "    return lost / gap",
        ),
        checker=_check_share,
    )
)


# 09.2: which control tests which explanation.

CONTROLS = {"A": "patches", "B": "steps", "C": "seeds", "D": "pixels"}
_WHY_NOT = {
    "A": "Explanation A is about which patches are neighbours. One control destroys just that and "
    "leaves every patch whole.",
    "B": "Explanation B is about too few updates. Which control gives both networks more of them?",
    "C": "Explanation C is about luck. Which control only draws anew?",
    "D": "Explanation D is about what stands inside a patch, which the shuffle of patches leaves "
    "alone. Which control takes the patches apart?",
}


def _check_controls(controls: Any) -> str:
    if not isinstance(controls, dict):
        raise Wrong('Give a dict, for example {"A": "steps", "B": "seeds", ...}.')
    if not controls or all(value in (None, Ellipsis) for value in controls.values()):
        raise NotAttempted
    said = {str(key).strip().upper(): value for key, value in controls.items()}
    missing = [key for key in CONTROLS if said.get(key) in (None, Ellipsis)]
    if missing:
        raise Wrong(f"There is no control yet for {', '.join(missing)}.")
    unknown = [str(said[key]) for key in CONTROLS if said[key] not in CONTROLS.values()]
    if unknown:
        known = ", ".join(sorted(CONTROLS.values()))
        raise Wrong(f"There is no control {unknown[0]!r}; choose from {known}.")
    wrong = [_WHY_NOT[key] for key, control in CONTROLS.items() if said[key] != control]
    if wrong:
        raise Wrong(wrong[0])
    return (
        "Three of these controls take one thing away and leave the others. Shuffling pixels takes "
        "two: the neighbours, and the pieces of strokes. What the strokes alone are worth is the "
        "difference to shuffling patches."
    )


register(
    Exercise(
        id="09.2",
        goal="Match each explanation A to D with the control that tests it.",
        difficulty=1,
        minutes=5,
        hints=(
            "Ask of each control what it changes, and what it leaves as it was.",
            "Shuffling patches changes who stands beside whom. Shuffling pixels changes that and "
            "the inside of every patch. More steps change only how long is trained; another seed "
            "changes only what is drawn.",
            'controls = {"A": "patches", "B": ..., "C": ..., "D": ...}',
        ),
        checker=_check_controls,
    )
)


# 09.3: how far a head looks.


def _distances(height: int, width: int) -> Tensor:
    place = torch.arange(height * width)
    rows, columns = place // width, place % width
    across = (rows[:, None] - rows).square() + (columns[:, None] - columns).square()
    return across.double().sqrt()


def _check_distance(mean_distance: Any) -> str:
    generator = torch.Generator().manual_seed(0)
    for height, width in ((3, 4), (7, 7), (1, 5)):
        tokens = height * width
        noise = torch.randn(tokens, tokens, generator=generator, dtype=torch.float64)
        for mixing in (torch.eye(tokens).double(), (2 * noise).softmax(-1)):
            given = mixing.clone()
            found = _require_number(
                call(mean_distance, given, height, width), f"mean_distance(A, {height}, {width})"
            )
            distances = _distances(height, width)
            if abs(found - (mixing * distances).sum(-1).mean().item()) > CLOSE:
                raise Wrong(_why_the_distance_is_wrong(found, mixing, height, width))
    return "0 for a head that reads only its own token; the further it looks, the larger."


def _why_the_distance_is_wrong(found: float, mixing: Tensor, height: int, width: int) -> str:
    distances = _distances(height, width)
    place = torch.arange(height * width)
    rows, columns = place // width, place % width
    steps = ((rows[:, None] - rows).abs() + (columns[:, None] - columns).abs()).double()
    by_row = (place[:, None] - place).abs().double()
    swapped = _distances(width, height)
    slips = {
        "You measured along the list of tokens. Tokens n and n + 1 may stand at opposite ends of "
        "the image: turn a number into row and column first.": (mixing * by_row).sum(-1).mean(),
        "You counted steps along rows and columns. The distance is the straight line: the root of "
        "the sum of squares.": (mixing * steps).sum(-1).mean(),
        "You have the squared distance; the root is missing.": (mixing * distances.square())
        .sum(-1)
        .mean(),
        "You summed over the queries as well. Take their mean.": (mixing * distances).sum(),
        "You divided by all entries of A. A row's weights sum to 1: sum along it, then take the "
        "mean over the rows.": (mixing * distances).mean(),
        "The weights are missing: this is the mean distance of all pairs, whatever A "
        "is.": distances.mean(),
        "Height and width have changed places: token n stands in row n // width.": (
            mixing * swapped
        )
        .sum(-1)
        .mean(),
    }
    for sentence, value in slips.items():
        if abs(found - value.item()) < CLOSE:
            return sentence
    return (
        f"On a grid of {height} x {width} you give {found:.3f}. Lay out the distances of all pairs "
        "as an N x N matrix first, and check it: its diagonal is 0, it is symmetric."
    )


register(
    Exercise(
        id="09.3",
        goal="Write mean_distance(A, height, width): how far a head looks, in tokens. A is N x N "
        "with rows that sum to 1, tokens row by row. For each query take the mean distance of what "
        "it reads, weighted by its row of A; then the mean over all queries.",
        difficulty=2,
        minutes=10,
        hints=(
            "Where does token n stand? And how far is that from token m?",
            "Rows are n // width, columns n % width. A distance matrix D (N x N) is the root of "
            "the squared row difference plus the squared column difference. Multiply A and D entry "
            "by entry, sum each row, take the mean.",
            "def mean_distance(A, height, width):\n"
            "    place = torch.arange(height * width)\n"
            "    row, column = place // width, place % width\n"
            "    squared = (row[:, None] - row) ** 2 + ...\n"
            "    return (A * squared.sqrt()).sum(-1)...",
        ),
        checker=_check_distance,
    )
)


# 09.4: could a softmax head have these filters?


def _kernels(model: PatchClassifier) -> Tensor:
    return torch.stack([block.dwconv.weight.detach()[:, 0] for block in model.blocks]).flatten(2)


def _check_kernels(without_negatives: Any) -> str:
    some = small_convnext(channels=8, depth=3)
    with torch.no_grad():
        for number, block in enumerate(some.blocks):
            block.dwconv.weight[: 2 + number].abs_()
            # Mostly positive, and one weight below zero: no softmax row.
            block.dwconv.weight[7].abs_()
            block.dwconv.weight[7, 0, 0, number] = -0.01
            # One sign, but the wrong one: a softmax row only with a negative factor.
            block.dwconv.weight[6].abs_().neg_()
    for model in (some, trained("ConvNeXt", 4000)):
        kernels = _kernels(model)
        wanted = int((kernels >= 0).all(-1).sum())
        found = _require_number(call(without_negatives, model), "without_negatives(model)")
        if found != wanted:
            raise Wrong(_why_the_count_is_wrong(found, kernels, wanted))
    return (
        "Not one of the 192 learned filters could be a row of softmax weights, scaled: each has a "
        "negative weight."
    )


def _why_the_count_is_wrong(found: float, kernels: Tensor, wanted: int) -> str:
    positive = (kernels >= 0).all(-1)
    slips = {
        "That counts the layers' first block only; the model has several: model.blocks.": int(
            positive[0].sum()
        ),
        "You counted single weights. A filter passes only if all nine of its weights do.": int(
            (kernels >= 0).sum()
        ),
        "You counted filters with a positive sum. One negative weight is enough to rule softmax "
        "out, however large the others are.": int((kernels.sum(-1) >= 0).sum()),
        "You counted filters that have some weight above zero. All nine must be.": int(
            (kernels >= 0).any(-1).sum()
        ),
        "You counted the filters that do have a negative weight: the others are asked for.": int(
            (~positive).sum()
        ),
    }
    for sentence, value in slips.items():
        if found == value != wanted:
            return sentence
    return (
        f"On a model where {wanted} of {positive.numel()} filters have no negative weight you give "
        f"{found:g}. Each block's filters are block.dwconv.weight, of shape (C, 1, 3, 3)."
    )


register(
    Exercise(
        id="09.4",
        goal="Write without_negatives(model): how many depthwise filters of a small ConvNeXt, in "
        "all its blocks, have no negative weight. Only those could be a row of softmax weights, "
        "times a positive factor. Then run it on trained('ConvNeXt', 4000).",
        difficulty=2,
        minutes=8,
        hints=(
            "Print model.blocks[0].dwconv.weight.shape. Which axes make up one filter?",
            "For each block: weight.flatten(1) is (C, 9). all(-1) over weight >= 0 says for each "
            "filter whether it passes. Sum over the filters, then over the blocks.",
            "def without_negatives(model):\n"
            "    return sum(\n"
            "        int((block.dwconv.weight.flatten(1) >= 0)...)\n"
            "        for block in model.blocks\n"
            "    )",
        ),
        checker=_check_kernels,
    )
)


# 09.5: find the errors.

FALSE_STATEMENTS = {
    "a": "Statement a is false: ViT's attention weights are a softmax. Linear attention is another "
    "method, without it.",
    "c": "Statement c is false: ConvNeXt has no attention. The model that keeps it is CvT.",
    "e": "Statement e is false: after the shuffle the convnet has no neighbours to use, and is "
    "still ahead. Locality explains what the shuffle took, and no more.",
}
TRUE_STATEMENTS = {
    "b": "Statement b is true: shuffle its starting positions alike, and it trains to the same "
    "losses. The page has run it.",
    "d": "Statement d is true: CvT computes queries, keys and values by a depthwise convolution "
    "and a Linear, and then attends.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more. Hold each statement against a cell of "
        "this page or a card of the ledger."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more, example="bd")
    return "a, c and e. " + " ".join(
        one.partition(": ")[2][:1].upper() + one.partition(": ")[2][1:]
        for one in FALSE_STATEMENTS.values()
    )


register(
    Exercise(
        id="09.5",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "One of them mixes up two models, one two methods, and one concludes more than the "
            "runs show.",
            "For a, read the first part of C6 in the ledger; for c, its third part. For e, compare "
            "the shuffled convnet with the ViT on straight images.",
            "print(recorded('ConvNeXt', 100, 'patches').mean(), recorded('ViT', 100).mean())",
        ),
        checker=_check_find_the_errors,
    )
)
