"""Names of the same weights: ConvNeXt state dicts from the official code, torchvision and timm.

Three libraries build one network under three sets of names. This module lists every key with the
shape it must have, and renames a state dict from one set to another. One tensor differs in shape:
torchvision keeps layer scale as ``(C, 1, 1)``, the others as ``(C,)``.

timm calls the two pointwise layers ``mlp.fc1`` and ``mlp.fc2``: they are the class that its ViT and
Swin use for the feed-forward.

Sources: facebookresearch/ConvNeXt, ``models/convnext.py``; pytorch/vision,
``torchvision/models/convnext.py``; huggingface/pytorch-image-models, ``timm/models/convnext.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import count
from statistics import mode
from typing import NamedTuple

from torch import Tensor

from helpers.kernels import odd_pair

#: The three sets of names.
LIBRARIES = ("official", "torchvision", "timm")

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
State = Mapping[str, Tensor]


class Entry(NamedTuple):
    """One tensor of a ConvNeXt: its name in each library, and its shape in the official one."""

    official: str
    torchvision: str
    timm: str
    shape: Shape

    def name(self, library: str) -> str:
        """Give the name in a library."""
        return self[LIBRARIES.index(library)]

    def shape_in(self, library: str) -> Shape:
        """Give the shape in a library: torchvision keeps layer scale as ``(C, 1, 1)``."""
        if library == "torchvision" and self.official.endswith(".gamma"):
            return (*self.shape, 1, 1)
        return self.shape


def convnext_entries(
    depths: Iterable[int] = (3, 3, 9, 3),
    dims: Iterable[int] = (96, 192, 384, 768),
    classes: int = 1000,
    kernel_size: int = 7,
    layer_scale: bool = True,
) -> list[Entry]:
    """List every tensor of a ConvNeXt, with its three names and its shape.

    Parameters
    ----------
    depths, dims
        How many blocks and how many channels each stage has; by default ConvNeXt-T.
    classes
        How many the head tells apart.
    kernel_size
        Of the depthwise convolutions; odd.
    layer_scale
        Whether the blocks have a ``gamma``.

    Raises
    ------
    ValueError
        If the lists differ in length, or the kernel size is even.

    Examples
    --------
    >>> entries = convnext_entries()
    >>> len(entries)
    182
    >>> print(*entries[4][:3])
    stages.0.0.gamma features.1.0.layer_scale stages.0.blocks.0.gamma
    """
    depths, dims = tuple(depths), tuple(dims)
    if len(depths) != len(dims) or not dims:
        raise ValueError(
            f"depths has {len(depths)} stages, dims has {len(dims)}: expected as many."
        )
    odd_pair(kernel_size)
    stem = ("downsample_layers.0", "features.0", "stem")
    entries = _layer(stem, (".0",) * 3, (dims[0], 3, 4, 4))
    entries += _layer(stem, (".1",) * 3, (dims[0],))
    for i, (depth, c) in enumerate(zip(depths, dims, strict=True)):
        if i > 0:
            down = (f"downsample_layers.{i}", f"features.{2 * i}", f"stages.{i}.downsample")
            entries += _layer(down, (".0",) * 3, (dims[i - 1],))
            entries += _layer(down, (".1",) * 3, (c, dims[i - 1], 2, 2))
        for j in range(depth):
            block = _join(_stage(i), (str(j),) * 3)
            if layer_scale:
                entries.append(Entry(*_join(block, _GAMMA), (c,)))
            for names, shape in (
                (_DEPTHWISE, (c, 1, kernel_size, kernel_size)),
                ((".norm", ".block.2", ".norm"), (c,)),
                ((".pwconv1", ".block.3", ".mlp.fc1"), (4 * c, c)),
                ((".pwconv2", ".block.5", ".mlp.fc2"), (c, 4 * c)),
            ):
                entries += _layer(block, names, shape)
    end = ("", "classifier.", "head.")
    entries += _layer(end, ("norm", "0", "norm"), (dims[-1],))
    entries += _layer(end, ("head", "2", "fc"), (classes, dims[-1]))
    return entries


def convnext_shapes(library: str = "official", **design: object) -> Shapes:
    """Give each key of a library's state dict, with the shape it must have.

    Parameters
    ----------
    library
        One of `LIBRARIES`.
    **design
        As in `convnext_entries`.

    Examples
    --------
    >>> convnext_shapes("torchvision")["features.1.0.layer_scale"]
    (96, 1, 1)
    """
    _check_library(library)
    return {entry.name(library): entry.shape_in(library) for entry in convnext_entries(**design)}


def isotropic_shapes(
    depth: int = 18, channels: int = 384, classes: int = 1000, layer_scale: bool = False
) -> Shapes:
    """Give each key of an official isotropic ConvNeXt, with the shape it must have.

    Examples
    --------
    >>> isotropic_shapes()["blocks.17.dwconv.weight"]
    (384, 1, 7, 7)
    """
    whole = convnext_shapes(
        depths=(depth,), dims=(channels,), classes=classes, layer_scale=layer_scale
    )
    shapes = {"stem.weight": (channels, 3, 16, 16), "stem.bias": (channels,)}
    for key, shape in whole.items():
        if not key.startswith("downsample_layers."):
            shapes[key.replace("stages.0.", "blocks.")] = shape
    return shapes


def convert_convnext(state: State, target: str, source: str | None = None) -> dict[str, Tensor]:
    """Rename a ConvNeXt state dict from one library to another, every key and shape checked.

    Parameters
    ----------
    state
        The state dict. An official checkpoint file, which holds it under ``"model"``, will do.
        Depths, widths, kernel size and classes are read off it.
    target, source
        Two of `LIBRARIES`; by default `source` is found out from the keys.

    Returns
    -------
    dict
        The same tensors under the target's names; layer scale reshaped where they differ.

    Raises
    ------
    KeyError
        If a key is missing, or there is one that no ConvNeXt has. The message names it.
    ValueError
        If a tensor has another shape than its key must have, or a library has another name.

    Examples
    --------
    >>> import torch
    >>> shapes = convnext_shapes("torchvision", depths=(1,), dims=(4,), classes=2)
    >>> state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    >>> converted = convert_convnext(state, "official")
    >>> [key for key in converted if "gamma" in key], converted["stages.0.0.gamma"].shape
    (['stages.0.0.gamma'], torch.Size([4]))
    """
    state = _unwrap(state)
    source = library_of(state) if source is None else source
    for library in (source, target):
        _check_library(library)
    entries = convnext_entries(**_design(state, source))
    _check_keys(state, {entry.name(source): entry.shape_in(source) for entry in entries}, source)
    return {
        entry.name(target): state[entry.name(source)].reshape(entry.shape_in(target))
        for entry in entries
    }


def block_state(state: State, stage: int, block: int) -> dict[str, Tensor]:
    """Take one block out of a ConvNeXt state dict, under the official names.

    They are those of `helpers.blocks.ConvNeXtBlock`, which loads the result.

    Parameters
    ----------
    state
        A state dict of any of `LIBRARIES`.
    stage, block
        Which one, both from 0.

    Raises
    ------
    KeyError
        If there is no such block, and as `convert_convnext`.
    ValueError
        As `convert_convnext`.

    Examples
    --------
    >>> import torch
    >>> shapes = convnext_shapes("timm", depths=(2,), dims=(4,), classes=2)
    >>> state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    >>> print(*block_state(state, stage=0, block=1))  # doctest: +NORMALIZE_WHITESPACE
    gamma dwconv.weight dwconv.bias norm.weight norm.bias
    pwconv1.weight pwconv1.bias pwconv2.weight pwconv2.bias
    """
    prefix = f"stages.{stage}.{block}."
    official = convert_convnext(state, "official")
    found = {k.removeprefix(prefix): v for k, v in official.items() if k.startswith(prefix)}
    if not found:
        depths = _design(official, "official")["depths"]
        raise KeyError(
            f"no block {prefix.rstrip('.')}: this network has {depths} blocks in its stages, all "
            "counted from 0."
        )
    return found


def library_of(state: State) -> str:
    """Tell whose names a ConvNeXt state dict has.

    Raises
    ------
    KeyError
        If it has none of the three stems.

    Examples
    --------
    >>> library_of(dict.fromkeys(convnext_shapes("timm")))
    'timm'
    """
    for library in LIBRARIES:
        if _STEM[library] in state:
            return library
    if not state:
        raise KeyError("the state dict is empty.")
    stems = ", ".join(f"{key!r} ({library})" for library, key in _STEM.items())
    raise KeyError(
        f"no ConvNeXt that is known: expected one of the keys {stems}; the first of the "
        f"{len(state)} here is {next(iter(state))!r}."
    )


# --- shared --------------------------------------------------------------------------------------

_STEM = {
    "official": "downsample_layers.0.0.weight",
    "torchvision": "features.0.0.weight",
    "timm": "stem.0.weight",
}

_DEPTHWISE = (".dwconv", ".block.0", ".conv_dw")
_GAMMA = (".gamma", ".layer_scale", ".gamma")


def _stage(i: int) -> tuple[str, str, str]:
    """Give what the names of a stage's blocks start with; the block's number follows."""
    return f"stages.{i}.", f"features.{2 * i + 1}.", f"stages.{i}.blocks."


def _join(prefixes: Iterable[str], suffixes: Iterable[str]) -> tuple[str, ...]:
    return tuple(p + s for p, s in zip(prefixes, suffixes, strict=True))


def _layer(prefixes: Iterable[str], names: Iterable[str], weight: Shape) -> list[Entry]:
    """List the weight and bias of one layer; the bias has one number for each output channel."""
    layer = _join(prefixes, names)
    return [
        Entry(*_join(layer, (".weight",) * 3), weight),
        Entry(*_join(layer, (".bias",) * 3), weight[:1]),
    ]


def _unwrap(state: State) -> State:
    inner = state.get("model")
    return inner if isinstance(inner, Mapping) else state


def _design(state: State, library: str) -> dict[str, object]:
    """Read depths, widths, classes, kernel size and layer scale off a state dict.

    Each is what most of its tensors say, so that one that is missing or wrong is outvoted here, and
    named when every key is checked.
    """
    column = LIBRARIES.index(library)
    depths: list[int] = []
    dims: list[int] = []
    while True:
        start = _stage(len(dims))[column]
        blocks = {key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)}
        depth = next(j for j in count() if str(j) not in blocks)
        if depth == 0:
            break
        depths.append(depth)
        # Seven of a block's nine tensors have C on their first axis, the other two 4 C.
        dims.append(mode(_size(state, key, 0) for key in state if key.startswith(start)))
    if not dims:
        raise KeyError(f"no block {_stage(0)[column]}0 in this {library} state dict.")
    kernels = [key for key in state if key.endswith(f"{_DEPTHWISE[column]}.weight")]
    head = ("head.", "classifier.2.", "head.fc.")[column]
    heads = [key for key in (f"{head}weight", f"{head}bias") if key in state]
    return {
        "depths": tuple(depths),
        "dims": tuple(dims),
        "classes": mode(_size(state, key, 0) for key in heads) if heads else 1000,
        "kernel_size": mode(_size(state, key, -1) for key in kernels) if kernels else 7,
        "layer_scale": any(key.endswith(_GAMMA[column]) for key in state),
    }


def _size(state: State, key: str, axis: int) -> int:
    shape = tuple(state[key].shape)
    if not shape:
        raise ValueError(f"{key!r} is a single number: expected a tensor of weights.")
    return shape[axis]


def _check_keys(state: State, expected: Shapes, library: str) -> None:
    for key in state:
        if key not in expected:
            near = difflib.get_close_matches(key, expected, n=1)
            hint = f" Nearest: {near[0]!r}." if near else ""
            raise KeyError(f"{key!r} is no key of this {library} ConvNeXt.{hint}")
    for key, shape in expected.items():
        if key not in state:
            raise KeyError(f"{key!r} is missing from this {library} state dict.")
        if tuple(state[key].shape) != shape:
            raise ValueError(
                f"{key!r} has shape {tuple(state[key].shape)}: expected {shape} in a {library} "
                "ConvNeXt."
            )


def _check_library(library: str) -> None:
    if library not in LIBRARIES:
        raise ValueError(f"library {library!r}: expected one of {', '.join(map(repr, LIBRARIES))}.")
