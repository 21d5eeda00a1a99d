"""The training runs of notebook 09, and what their results say.

`make experiments` makes the runs (about forty minutes on a quiet core) and stores them in
``helpers/results/small_data.json``, where the notebook reads them. Every run is written as soon as
it is done: stop at any time, and the next call goes on with what is missing. A run is one network,
so many images, in one arrangement, with one recipe and one seed; all of it stands in the file.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.data import Digits, load_digits, patch_order
from helpers.models import PatchClassifier, small_convnext, small_vit
from helpers.training import Recipe, accuracy, train

RESULTS = Path(__file__).parent / "results" / "small_data.json"
WEIGHTS = RESULTS.with_name("trained.safetensors")

#: The two networks, by the name that the results use.
Networks = Mapping[str, Callable[[], PatchClassifier]]
NETWORKS: Networks = {"ConvNeXt": small_convnext, "ViT": small_vit}

#: Images as they are; with their patches shuffled, so that whole tokens change places; with all
#: their pixels shuffled, which takes the patches apart as well. One permutation for all images.
ARRANGEMENTS = ("straight", "patches", "pixels")
_PIXELS = 28 * 28

SIZES = (100, 500, 4000)

#: The learning rate of the recipe, and a third and three times as much.
LEARNING_RATE = Recipe().learning_rate
OTHER_RATES = (LEARNING_RATE / 3, LEARNING_RATE * 3)


@dataclass(frozen=True)
class Cell:
    """One training run: what is trained, on what, for how long."""

    network: str
    images: int
    arrangement: str = "straight"
    steps: int = 600
    seed: int = 0
    learning_rate: float = LEARNING_RATE


#: The runs whose weights are kept for the notebook to look at.
SHOWN = tuple(Cell(network, images) for images in (100, 4000) for network in NETWORKS)


def cells() -> list[Cell]:
    """List every run in the order in which they are made: a whole table first, then more seeds."""
    plan: list[Cell] = []

    def add(
        seeds: Iterable[int], sizes: Iterable[int], arrangements: Iterable[str], **recipe: Any
    ) -> None:
        plan.extend(
            Cell(network, images, arrangement, seed=seed, **recipe)
            for seed in seeds
            for images in sizes
            for arrangement in arrangements
            for network in NETWORKS
        )

    add((0, 1), SIZES, ("straight", "patches"))
    add((0,), (4000,), ("straight",), steps=2400)
    add((2, 3), SIZES, ("straight", "patches"))
    add((1,), (4000,), ("straight",), steps=2400)
    for seed in range(4):
        add((seed,), SIZES, ("pixels",))
    for seed, images in itertools.product((0, 1), (4000, 100)):
        for learning_rate in OTHER_RATES:
            add((seed,), (images,), ("straight",), learning_rate=learning_rate)
    return plan


def arranged(digits: Digits, arrangement: str) -> Digits:
    """Give the digits straight or shuffled: one permutation of patches or pixels for all of them.

    Raises
    ------
    ValueError
        If there is no such arrangement.
    """
    if arrangement not in ARRANGEMENTS:
        raise ValueError(f"arrangement={arrangement!r}: expected one of {ARRANGEMENTS}.")
    if arrangement == "pixels":
        return digits.shuffled(patch_order(seed=0, tokens=_PIXELS), patch=1)
    return digits if arrangement == "straight" else digits.shuffled(patch_order(seed=0))


def run(
    cell: Cell, training: Digits, test: Digits, networks: Networks = NETWORKS
) -> tuple[PatchClassifier, dict[str, Any]]:
    """Make one run: the seed draws the training images, the first weights and the batches.

    Returns
    -------
    tuple[PatchClassifier, dict[str, Any]]
        The trained network, and the cell with what was measured: ``test``, the accuracy on the
        test images after so many steps; ``train``, the accuracy on the training images at the end.
    """
    seen = arranged(training.subset(cell.images, cell.seed), cell.arrangement)
    unseen = arranged(test, cell.arrangement)
    with torch.random.fork_rng():
        torch.manual_seed(cell.seed)
        model = networks[cell.network]()
    recipe = Recipe(steps=cell.steps, learning_rate=cell.learning_rate)
    history = train(model, seen, recipe, seed=cell.seed, test=unseen)
    if not history.finished:
        raise KeyboardInterrupt
    measured = {
        "test": {str(step): round(value, 4) for step, value in history.accuracy.items()},
        "train": round(accuracy(model, seen), 4),
    }
    return model, _row(cell) | measured


def make_runs(
    path: Path = RESULTS,
    plan: Sequence[Cell] | None = None,
    weights: Path = WEIGHTS,
    networks: Networks = NETWORKS,
) -> None:
    """Make the runs that `path` does not hold yet, and write each as it is done.

    Parameters
    ----------
    path
        The results; read first, if there are some.
    plan
        The runs; `cells()` unless told.
    weights
        Where the weights of the runs in `SHOWN` go.
    networks
        How each network is built, by the name in the plan.
    """
    torch.set_num_threads(1)
    plan = cells() if plan is None else plan
    done = list(_read(path)) if path.exists() else []
    held = {_cell(one) for one in done}
    missing = [cell for cell in plan if cell not in held]
    left, made, start = sum(cell.steps for cell in missing), 0, time.perf_counter()
    training, test = load_digits()
    for cell in missing:
        model, measured = run(cell, training, test, networks)
        if cell in SHOWN:
            store_weights(weights, cell, model)
        done.append(measured)
        _write(path, done)
        made, left = made + cell.steps, left - cell.steps
        minutes = (time.perf_counter() - start) / made * left / 60
        bar = "=" * (20 * len(done) // len(plan))
        print(
            f"[{bar:20}] {len(done)} of {len(plan)}  {cell.network}, {cell.images} images, "
            f"{cell.arrangement}, {cell.steps} steps, learning rate {cell.learning_rate:.1g}, "
            f"seed {cell.seed}: "
            f"{measured['test'][str(cell.steps)]:.3f}; about {minutes:.0f} min left",
            flush=True,
        )


def _row(cell: Cell) -> dict[str, Any]:
    """Write a cell down. The file states its recipe once: a run names what differs from it."""
    row = asdict(cell)
    if cell.learning_rate == LEARNING_RATE:
        del row["learning_rate"]
    return row


def _cell(one: Mapping[str, Any]) -> Cell:
    return Cell(**{name: one[name] for name in Cell.__dataclass_fields__ if name in one})


def _write(path: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = {k: v for k, v in asdict(Recipe()).items() if k != "steps"}
    lines = ",\n".join("  " + json.dumps(one) for one in runs)
    text = f'{{"recipe": {json.dumps(recipe)}, "runs": [\n{lines}\n]}}\n'
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _read(path: Path) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8"))["runs"])


def recorded(
    network: str,
    images: int,
    arrangement: str = "straight",
    *,
    steps: int = 600,
    learning_rate: float = LEARNING_RATE,
    at: int | None = None,
    on: str = "test",
    path: Path = RESULTS,
) -> Tensor:
    """Look up the accuracy of recorded runs, one number for each seed, in their order.

    Parameters
    ----------
    network, images, arrangement, steps, learning_rate
        Which runs: see `Cell`.
    at
        After so many steps, a multiple of 100; at the end unless told.
    on
        ``"test"``, or ``"train"``: on the training images, which is measured at the end only.
    path
        The results.

    Returns
    -------
    Tensor
        ``(seeds,)``, float64. Runs of the same seed saw the same images, whatever the network.

    Raises
    ------
    KeyError
        If no such run is recorded; the message lists what is.

    Examples
    --------
    >>> bool(recorded("ConvNeXt", 100).mean() > recorded("ViT", 100).mean())
    True
    """
    wanted = {
        "network": network,
        "images": images,
        "arrangement": arrangement,
        "steps": steps,
        "learning_rate": learning_rate,
    }
    held = [(asdict(_cell(one)), one) for one in _read(path)]
    found = [one for cell, one in held if wanted.items() <= cell.items()]
    if not found:
        known = sorted({tuple(cell[name] for name in wanted) for cell, _ in held})
        raise KeyError(
            f"no run is recorded with {wanted}. There are these, in the same order: "
            + "; ".join(", ".join(map(str, one)) for one in known)
        )
    found.sort(key=lambda one: one["seed"])
    values = [one["train"] if on == "train" else one["test"][str(at or steps)] for one in found]
    return torch.tensor(values, dtype=torch.float64)


def store_weights(path: Path, cell: Cell, model: PatchClassifier) -> None:
    """Add a network's weights to a file, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = load_file(path) if path.exists() else {}
    for name, value in model.state_dict().items():
        tensors[f"{_label(cell)}.{name}"] = value.half().contiguous()
    save_file(tensors, path)


def trained(network: str, images: int, path: Path = WEIGHTS) -> PatchClassifier:
    """Load a network as the recorded run of seed 0 left it, ready to be looked at.

    Parameters
    ----------
    network
        ``"ConvNeXt"`` or ``"ViT"``.
    images
        How many images it was trained on: one of those in `SHOWN`.

    Raises
    ------
    KeyError
        If no such network was kept; the message lists those that were.

    Examples
    --------
    >>> trained("ViT", 100).blocks[0].layer.self_attn.num_heads
    2
    """
    kept = {(cell.network, cell.images): cell for cell in SHOWN}
    if (network, images) not in kept:
        raise KeyError(f"no weights of {network} after {images} images; there are {list(kept)}.")
    label = f"{_label(kept[network, images])}."
    tensors = load_file(path)
    model = NETWORKS[network]()
    model.load_state_dict(
        {k.removeprefix(label): v.float() for k, v in tensors.items() if k.startswith(label)}
    )
    return model.eval().requires_grad_(False)


def _label(cell: Cell) -> str:
    return f"{cell.network}-{cell.images}"


if __name__ == "__main__":
    try:
        make_runs()
    except KeyboardInterrupt:
        sys.exit("\nStopped. What is done is stored; run it again to go on.")
