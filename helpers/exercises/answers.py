"""What the checkers of all chapters ask of an answer: tensors, close numbers, letters."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from helpers.equivalence import normwise_difference
from helpers.exercises.core import NotAttempted, Wrong

#: Rounding in float64 stays far below this; a mistake stays far above.
CLOSE = 1e-9
#: The same for float32, PyTorch's default.
CLOSE_IN_FLOAT32 = 1e-5


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Draw normal noise of this shape in float64, the same for the same seed on every machine.

    Examples
    --------
    >>> torch.equal(noise(2, 3, seed=4), noise(2, 3, seed=4)), noise(2, 3).dtype
    (True, torch.float64)
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def require_tensor(value: Any, shape: Sequence[int], what: str, axes: str = "") -> Tensor:
    """Give the tensor without its graph, or tell the reader what it is in place of one.

    Parameters
    ----------
    value
        What the reader's code returned.
    shape
        The shape it should have; ``()`` for a single number.
    what, axes
        What to call it in the message, and its axes in words, if they help.

    Raises
    ------
    Wrong
        If it is no tensor, or has another shape.

    Examples
    --------
    >>> require_tensor(torch.zeros(2, 3), (3, 2), "A")
    Traceback (most recent call last):
    helpers.exercises.core.Wrong: A should have shape (3, 2); yours has (2, 3).
    """
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} should be a tensor; yours is a {type(value).__name__}.")
    if tuple(value.shape) != tuple(shape):
        named = f"{tuple(shape)}, {axes}" if axes else f"{tuple(shape)}"
        raise Wrong(f"{what} should have shape {named}; yours has {tuple(value.shape)}.")
    return value.detach()


def differ(left: Tensor, right: Tensor, close: float = CLOSE) -> bool:
    """Say whether two tensors of one shape are further apart than rounding explains.

    Examples
    --------
    >>> differ(torch.ones(2), torch.ones(2)), differ(torch.ones(2), torch.zeros(2))
    (False, True)
    """
    return normwise_difference(left.detach(), right.detach()) > close


def same(left: Tensor, right: Tensor) -> bool:
    """Say whether an answer, held in float64 or in float32, is `right` up to its own rounding.

    Examples
    --------
    >>> x = noise(3)
    >>> same(x.float(), x), same(x + 1e-6, x)
    (True, False)
    """
    close = CLOSE if left.dtype == torch.float64 else CLOSE_IN_FLOAT32
    return left.shape == right.shape and not differ(left.to(right), right, close)


def same_parameters(one: nn.Module, other: nn.Module) -> bool:
    """Say whether two modules of one make hold the same numbers, none of them changed.

    Examples
    --------
    >>> linear = nn.Linear(2, 3)
    >>> same_parameters(linear, linear)
    True
    """
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@contextmanager
def helpers_called(*helpers: Callable[..., Any]) -> Iterator[set[str]]:
    """Note which of the book's own functions an answer calls, however it wraps them.

    For the exercises that ask to write such a function: the numbers of an answer that calls it are
    right, and nothing was written.

    Parameters
    ----------
    *helpers
        Plain Python functions.

    Yields
    ------
    set of str
        The names of those that were called so far.

    Examples
    --------
    >>> with helpers_called(noise) as called:
    ...     _ = (lambda: noise(2))()
    >>> called
    {'noise'}
    """
    names = {helper.__code__: helper.__name__ for helper in helpers}
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in names:
            called.add(names[frame.f_code])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)


def letters_in(
    answer: Any, known: str, example: Sequence[str] = "ac", thing: str = "statement"
) -> set[str]:
    """Read the letters that an answer names, in whatever way it writes them.

    Parameters
    ----------
    answer
        A set, list, tuple or string: ``"bd"`` and ``"b, d"`` and ``{"(b)", "D."}`` mean the same.
    known
        All letters there are, in order.
    example
        Two letters for the message that shows how to answer.
    thing
        What a letter stands for.

    Raises
    ------
    Wrong
        If it is none of these, or names a letter that there is not.
    NotAttempted
        If it names none.

    Examples
    --------
    >>> sorted(letters_in("b and (D).", "abcd"))
    ['b', 'd']
    >>> letters_in({"x"}, "abcd")
    Traceback (most recent call last):
    helpers.exercises.core.Wrong: There is no statement x; they are a to d.
    """
    if not isinstance(answer, set | frozenset | list | tuple | str):
        one, other = example
        raise Wrong(f'Give the letters as a set, for example {{"{one}", "{other}"}}.')
    said = " ".join(map(str, [answer] if isinstance(answer, str) else answer)).lower()
    # "and" is a word and no letters; "bd" is two letters.
    together = re.fullmatch(f"[{known}]+", said)
    letters = set(said) if together else set(re.findall(r"\b[a-z]\b", said))
    unknown = ", ".join(sorted(letters - set(known)))
    if unknown:
        raise Wrong(f"There is no {thing} {unknown}; they are {known[0]} to {known[-1]}.")
    if not letters:
        raise NotAttempted
    return letters


def false_statements(
    answer: Any,
    false: Collection[str],
    true: Mapping[str, str],
    more: str,
    example: Sequence[str] = "ac",
) -> None:
    """Check which statements an answer calls false, in a "find the errors" exercise.

    Parameters
    ----------
    answer
        The reader's letters; see `letters_in`.
    false
        The letters of the false statements.
    true
        Why each of the other statements is true: what a reader is told who calls it false.
    more
        What a reader is told who has named some of the false ones and no others.
    example
        Two letters for the message that shows how to answer.

    Raises
    ------
    Wrong, NotAttempted
        If the answer is not exactly the false ones.

    Examples
    --------
    >>> false_statements("b", "b", {"a": "Statement a is true."}, "There is more.")
    >>> false_statements("ab", "b", {"a": "Statement a is true."}, "There is more.")
    Traceback (most recent call last):
    helpers.exercises.core.Wrong: Statement a is true.
    """
    letters = letters_in(answer, "".join(sorted({*false, *true})), example)
    accused = [true[letter] for letter in sorted(letters & set(true))]
    if accused:
        raise Wrong(" ".join(accused))
    if set(false) - letters:
        raise Wrong(more)
