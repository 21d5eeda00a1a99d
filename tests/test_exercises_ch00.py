"""Wrong and right answers to the exercise of notebook 00."""

from __future__ import annotations

import torch

WRONG = {
    "00.1": [
        (lambda c: 4 * c**2, "The biases are missing"),
        (lambda c: 4 * c**2 + c, "a bias for each channel that goes in"),
        (lambda c: 4 * c, "one weight for each channel out"),
        (lambda c: 5 * c, "a product, not a sum"),
        (lambda c: 36 * c**2 + 4 * c, "That is a 3x3 convolution"),
        (lambda c: 7, "How many numbers go in"),
        (lambda c: "37248", "yours is '37248'"),
        (lambda c: c == 1, "yours is False"),
        (lambda c: float("nan"), "yours is nan"),
        (lambda c: None, "returned None"),
        (37248, "Expected a function"),
    ]
}

RIGHT = {
    "00.1": [
        lambda c: 4 * c * c + 4 * c,
        lambda c: 4.0 * c * (c + 1),
        lambda c: torch.tensor(4 * c * (c + 1)),
        lambda c: torch.tensor(4 * c * (c + 1)).numpy(),
    ]
}
