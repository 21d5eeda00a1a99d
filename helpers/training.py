"""Short training runs that a page can hold: a loop, a bar, and what is kept when it is stopped."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TextIO

import torch
import torch.nn.functional as F
from torch import nn

from helpers.data import Digits

#: How many marks a full progress bar has.
BAR = 20


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW with one learning rate from the first step to the last.

    Parameters
    ----------
    steps
        Weight updates.
    batch
        Images in each, drawn anew from the training images with replacement.
    learning_rate, weight_decay
        Of AdamW.

    Raises
    ------
    ValueError
        If `steps` or `batch` is below 1.
    """

    steps: int = 600
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1.")


@dataclass
class History:
    """What a training run left behind.

    Attributes
    ----------
    steps
        How many were asked for.
    losses
        The training loss at each step that was made.
    accuracy
        The test accuracy after so many steps.
    """

    steps: int
    losses: list[float] = field(default_factory=list)
    accuracy: dict[int, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every step was made: not if the run was interrupted."""
        return len(self.losses) == self.steps


class Progress:
    """A bar that only ever grows to the right, so that its stored text is always the same.

    Examples
    --------
    >>> with Progress("ViT", 40) as bar:
    ...     for _ in range(40):
    ...         bar.step()
    ViT              [====================] 40 steps
    """

    def __init__(self, name: str, steps: int, out: TextIO | None = None) -> None:
        self.name, self.steps, self.out = name, steps, out
        self.done = 0

    def __enter__(self) -> Progress:
        self._write(f"{self.name:16} [")
        return self

    def step(self) -> None:
        """Count one step, and draw what is new of the bar."""
        marks = self.done * BAR // self.steps
        self.done += 1
        self._write("=" * (self.done * BAR // self.steps - marks))

    def __exit__(self, *_: object) -> None:
        stopped = self.done < self.steps
        self._write(
            f" stopped after {self.done} of {self.steps} steps]\n"
            if stopped
            else f"] {self.steps} steps\n"
        )

    def _write(self, text: str) -> None:
        if text:
            out = self.out or sys.stdout
            out.write(text)
            out.flush()


class _Silent(Progress):
    """Draws nothing."""

    def _write(self, text: str) -> None:
        pass


def train(
    model: nn.Module,
    data: Digits,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    name: str = "",
    test: Digits | None = None,
    every: int = 100,
) -> History:
    """Train a classifier in place.

    Interrupt the kernel (or press Ctrl+C) to stop early: the run ends after the step it is at, the
    model keeps the weights it has, and the history says how far it came.

    Parameters
    ----------
    model
        Maps images ``(B, 1, 28, 28)`` to scores ``(B, 10)``. Changed in place.
    data
        What to learn from.
    recipe
        Steps, batch, learning rate, weight decay.
    seed
        Draws the batches.
    name
        Stands before the progress bar; an empty name draws none.
    test
        Where given, the accuracy on it is measured after every `every` steps and at the end.

    Returns
    -------
    History
        Losses and accuracies.

    Examples
    --------
    >>> from helpers.data import load_digits
    >>> from helpers.models import small_convnext
    >>> digits, _ = load_digits()
    >>> history = train(small_convnext(depth=1), digits.subset(10, seed=0), Recipe(steps=3))
    >>> len(history.losses), history.finished
    (3, True)
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    history = History(recipe.steps)
    model.train()
    try:
        with (Progress if name else _Silent)(name, recipe.steps) as bar:
            while not history.finished:
                drawn = torch.randint(len(data), (recipe.batch,), generator=generator)
                loss = F.cross_entropy(model(data.images[drawn]), data.labels[drawn])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                history.losses.append(loss.item())
                bar.step()
                done = len(history.losses)
                if test is not None and (done % every == 0 or history.finished):
                    history.accuracy[done] = accuracy(model, test)
    except KeyboardInterrupt:
        pass
    model.eval()
    return history


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits, batch: int = 500) -> float:
    """Give the share of images whose class the model names.

    Parameters
    ----------
    model
        Maps images to scores. Left in the mode that it was in.
    batch
        How many images are looked at together; only memory depends on it.

    Examples
    --------
    >>> always_three = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> with torch.no_grad():
    ...     _ = always_three[1].weight.zero_(), always_three[1].bias.copy_(torch.eye(10)[3])
    >>> accuracy(always_three, Digits(torch.zeros(4, 1, 28, 28), torch.tensor([3, 3, 1, 0])))
    0.5
    """
    training = model.training
    model.eval()
    right = sum(
        (model(images).argmax(1) == labels).sum().item()
        for images, labels in zip(data.images.split(batch), data.labels.split(batch), strict=True)
    )
    model.train(training)
    return right / len(data)
