"""Every design that can be written down builds, keeps the shape, and costs what it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.budget import measure
from helpers.designs import (
    BUDGET,
    DESIGN_RESULTS,
    GALLERY,
    MIXERS,
    BlockDesign,
    fitting_depth,
    gallery_network,
    gallery_runs,
    network,
    network_budget,
)
from helpers.experiments import recorded

choices = st.fixed_dictionaries(
    {
        "tokens": st.sampled_from(sorted(MIXERS)),
        "expansion": st.integers(0, 4),
        "kernel_size": st.sampled_from([3, 5, 7]),
        "heads": st.sampled_from([1, 2, 4, 8]),
        "norms": st.integers(1, 2),
        "skips": st.integers(1, 2),
        "channels": st.sampled_from([8, 16]),
    }
)


@given(choices)
@settings(derandomize=True, deadline=None, max_examples=30)
def test_a_design_is_refused_or_costs_what_it_says(chosen):
    try:
        design = BlockDesign(**chosen)
    except ValueError:
        assert chosen["expansion"] == 0  # every other refusal needs values that are not drawn
        return
    block, image = design.build(), torch.randn(1, chosen["channels"], 5, 6)
    assert block(image).shape == image.shape
    live, formula = measure(block, image), design.budget(tokens=30)
    assert live.parameters == formula.parameters
    if design.tokens != "local attention":  # its products are no matrix products
        assert live.macs == formula.macs


@given(choices.filter(lambda chosen: chosen["expansion"] > 0))
@settings(derandomize=True, deadline=None, max_examples=15)
def test_the_lift_of_a_block_is_its_mixer(chosen):
    block = BlockDesign(**chosen).build().double()
    image = torch.randn(2, chosen["channels"], 4, 5, dtype=torch.float64)
    with torch.no_grad():
        mixed = block.mixer(block.norm(image)).flatten(2).transpose(1, 2)
        lifted = block.mixing(image)(block.norm(image).flatten(2).transpose(1, 2))
    assert (mixed - lifted).abs().max() < 1e-12


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_is_on_the_budget(name):
    cost = sum(p.numel() for p in gallery_network(name).parameters())
    design = GALLERY[name]
    assert cost == network_budget(design, fitting_depth(design)).parameters
    assert abs(cost / BUDGET - 1) < 0.04


@pytest.mark.parametrize("positions", [True, False])
def test_a_network_costs_what_it_says(positions):
    design = BlockDesign("LightConv", expansion=2, channels=16)
    live = measure(network(design, 3, positions), torch.zeros(1, 1, 28, 28))
    budget = network_budget(design, 3, positions)
    assert (live.parameters, live.macs) == (budget.parameters, budget.macs)


def test_all_runs_are_recorded():
    for name in GALLERY:
        found = recorded(name, 500, steps=300, path=DESIGN_RESULTS)
        assert len(found) == len({cell.seed for cell in gallery_runs()})
