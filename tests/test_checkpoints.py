"""`helpers.checkpoints`: every key of three libraries, there and back, and every way to be wrong.

`data/convnext_tiny_keys.json` holds the keys and shapes of convnext_tiny as torchvision 0.26 and
timm 1.0.31 have them, and those of the official code.
"""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock
from helpers.budget import PRESETS
from helpers.checkpoints import (
    LIBRARIES,
    block_state,
    convert_convnext,
    convnext_entries,
    convnext_shapes,
    isotropic_shapes,
    library_of,
)

STORED = json.loads((Path(__file__).parent / "data" / "convnext_tiny_keys.json").read_text())

random_cases = settings(derandomize=True, deadline=None, max_examples=50, database=None)


def state_of(library: str, **design: object) -> dict[str, Tensor]:
    """Make a state dict in which no two numbers are alike."""
    state, count = {}, 0
    for key, shape in convnext_shapes(library, **design).items():
        size = math.prod(shape)
        state[key] = torch.arange(count, count + size, dtype=torch.float64).view(shape)
        count += size
    return state


TINY = {"depths": (2, 1), "dims": (4, 6), "classes": 3, "kernel_size": 3}


# --- convnext_tiny as it is ----------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_keys_and_shapes_of_convnext_tiny(library: str) -> None:
    stored = {key: tuple(shape) for key, shape in STORED[library].items()}
    assert len(stored) == 182
    assert sum(math.prod(shape) for shape in stored.values()) == 28_589_128
    assert convnext_shapes(library) == stored
    if library != "official":  # the official modules stand in another order
        assert list(convnext_shapes(library)) == list(stored)


@pytest.mark.parametrize(("source", "target"), list(permutations(LIBRARIES, 2)))
def test_the_stored_keys_convert(source: str, target: str) -> None:
    state = {key: torch.zeros(shape) for key, shape in STORED[source].items()}
    assert library_of(state) == source
    converted = convert_convnext(state, target)
    assert {k: tuple(v.shape) for k, v in converted.items()} == {
        k: tuple(shape) for k, shape in STORED[target].items()
    }


@pytest.mark.parametrize("name", [n for n in PRESETS if n.startswith("ConvNeXt")])
def test_every_size_has_its_published_parameters(name: str) -> None:
    design = PRESETS[name]
    settings_ = dict(design.settings)
    shapes = isotropic_shapes if "iso" in name else convnext_shapes
    total = sum(math.prod(shape) for shape in shapes(**settings_).values())
    assert total == design.published


# --- there and back ------------------------------------------------------------------------------


@random_cases
@given(
    stages=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3)), min_size=1, max_size=5),
    classes=st.integers(1, 4),
    kernel_size=st.sampled_from([1, 3, 7]),
    layer_scale=st.booleans(),
    libraries=st.permutations(LIBRARIES),
)
def test_round_trip(
    stages: list[tuple[int, int]],
    classes: int,
    kernel_size: int,
    layer_scale: bool,
    libraries: list[str],
) -> None:
    depths, dims = zip(*stages, strict=True)
    design = {
        "depths": depths,
        "dims": dims,
        "classes": classes,
        "kernel_size": kernel_size,
        "layer_scale": layer_scale,
    }
    state = state_of(libraries[0], **design)
    second = convert_convnext(state, libraries[1])
    third = convert_convnext(second, libraries[2])
    back = convert_convnext(third, libraries[0])
    assert set(back) == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())
    for library, converted in zip(libraries, (state, second, third), strict=True):
        shapes = convnext_shapes(library, **design)
        assert {key: tuple(value.shape) for key, value in converted.items()} == shapes
    # Each tensor went to the place that its entry says.
    for entry in convnext_entries(**design):
        here, there = entry.name(libraries[0]), entry.name(libraries[1])
        assert torch.equal(state[here].flatten(), second[there].flatten())


def test_order_of_the_keys_does_not_matter() -> None:
    state = state_of("timm", **TINY)
    reversed_ = dict(reversed(state.items()))
    left, right = convert_convnext(state, "official"), convert_convnext(reversed_, "official")
    assert list(left) == list(right)
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_checkpoint_file_of_the_official_code() -> None:
    state = state_of("official", **TINY)
    assert set(convert_convnext({"model": state}, "timm")) == set(convnext_shapes("timm", **TINY))


# --- the weights mean what their names say -------------------------------------------------------


def torchvision_block(channels: int) -> nn.Module:
    """Build torchvision's block of plain parts: its `block` and its `layer_scale`."""

    class Permute(nn.Module):
        def __init__(self, *order: int) -> None:
            super().__init__()
            self.order = order

        def forward(self, x: Tensor) -> Tensor:
            return x.permute(self.order)

    class CNBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(
                nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
                Permute(0, 2, 3, 1),
                nn.LayerNorm(channels, eps=1e-6),
                nn.Linear(channels, 4 * channels),
                nn.GELU(),
                nn.Linear(4 * channels, channels),
                Permute(0, 3, 1, 2),
            )
            self.layer_scale = nn.Parameter(torch.randn(channels, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer_scale * self.block(x)

    return CNBlock().double()


@pytest.mark.parametrize("order", ConvNeXtBlock.ORDERS)
def test_a_block_of_another_library_computes_the_same(order: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision_block(6)
    design = {"depths": (1, 2), "dims": (4, 6), "classes": 3}
    state = state_of("torchvision", **design)
    state |= {f"features.3.1.{key}": value for key, value in theirs.state_dict().items()}
    ours = ConvNeXtBlock(6, order=order).double()
    ours.load_state_dict(block_state(state, stage=1, block=1))
    image = torch.randn(2, 6, 9, 8).double()
    assert (ours(image) - theirs(image)).abs().max().item() < 1e-12


def test_block_state_of_all_libraries_is_one() -> None:
    official = state_of("official", **TINY)
    for library in LIBRARIES:
        taken = block_state(convert_convnext(official, library), stage=0, block=1)
        assert set(taken) == set(ConvNeXtBlock(4, 3).state_dict())
        assert all(torch.equal(v, official[f"stages.0.1.{k}"]) for k, v in taken.items())


# --- what is wrong is named ----------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_missing_key_is_named(library: str) -> None:
    state = state_of(library, **TINY)
    for key in state:
        rest = {k: v for k, v in state.items() if k != key}
        with pytest.raises(KeyError) as caught:
            convert_convnext(rest, "official", source=library)
        assert caught.value.args[0].startswith(f"{key!r} is missing from this {library}")


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_wrong_shape_is_named(library: str) -> None:
    state = state_of(library, **TINY)
    for entry in convnext_entries(**TINY):
        key = entry.name(library)
        value = state[key]
        for wrong in (
            value[None],
            torch.cat([value, value]),
            value[:1].expand(5, *value.shape[1:]),
        ):
            with pytest.raises(ValueError, match="has shape") as caught:
                convert_convnext({**state, key: wrong}, "official")
            named = caught.value.args[0].split("'")[1]
            # Of the head's two tensors either may be the one that is wrong.
            assert named == key or {named, key} == {
                f"{key.rpartition('.')[0]}.{end}" for end in ("weight", "bias")
            }


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_foreign_key_is_named(library: str) -> None:
    state = state_of(library, **TINY)
    for other in set(LIBRARIES) - {library}:
        foreign = sorted(set(convnext_shapes(other, **TINY)) - set(state))[-1]
        with pytest.raises(KeyError, match=foreign.replace(".", r"\.")):
            convert_convnext({**state, foreign: torch.zeros(1)}, "official", source=library)


def test_layer_scale_in_the_shape_of_another_library() -> None:
    state = state_of("official", **TINY)
    gamma = state["stages.0.1.gamma"]
    with pytest.raises(ValueError, match=r"'stages\.0\.1\.gamma' has shape \(4, 1, 1\): expect"):
        convert_convnext({**state, "stages.0.1.gamma": gamma[:, None, None]}, "timm")
    broken = state_of("torchvision", **TINY)
    broken["features.1.0.layer_scale"] = gamma
    with pytest.raises(ValueError, match=r"layer_scale' has shape \(4,\): expected \(4, 1, 1\)"):
        convert_convnext(broken, "timm")


@pytest.mark.parametrize("call", [
    lambda: convert_convnext(state_of("timm", **TINY), "flax"),
    lambda: convnext_shapes("flax"),
])  # fmt: skip
def test_no_such_library(call) -> None:
    with pytest.raises(ValueError, match="library 'flax': expected one of 'official'"):
        call()
