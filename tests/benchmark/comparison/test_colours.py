"""Tests that charts' colours can be told from the page and from each other, by colour-blind readers, too."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sb3_ppo_scratch.benchmark.comparison import page
from sb3_ppo_scratch.benchmark.comparison.drawing import COLOURS, DARK_COLOURS

Colour = NDArray[np.float64]
"""Red, green and blue, each in [0, 1], shape (3,)."""
PAGES = dict(
    zip(
        ("light", "dark"),
        re.findall(r"--page: (#\w{6})", (Path(page.__file__).parent / "templates" / page.TEMPLATE).read_text()),
        strict=True,
    )
)
SEEN_WITH = {
    "all cones": np.eye(3),
    "no long cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no middle cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no short cones": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Machado, Oliveira and Fernandes 2009 (https://doi.org/10.1109/TVCG.2009.113), table 1, the whole severity."""


def components(colour: str) -> Colour:
    """Read `#rrggbb`."""
    return np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])


def linear(colour: Colour) -> Colour:
    """Undo sRGB's gamma."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def contrast(one: Colour, other: Colour) -> float:
    """The ratio of two colours' luminances (https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio)."""
    low, high = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(each))) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(light: Colour) -> Colour:
    """CIELAB of linear sRGB."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    parts = (np.array(to_xyz) @ light) / (0.95047, 1.0, 1.08883)
    x, y, z = np.where(parts > 216 / 24389, np.cbrt(parts), (24389 / 27 * parts + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_measures_are_right() -> None:
    black, white, red = (components(colour) for colour in ("#000000", "#ffffff", "#ff0000"))
    assert contrast(black, white) == pytest.approx(21.0)
    np.testing.assert_allclose(lab(linear(red)), [53.24, 80.09, 67.20], atol=0.05)  # the published value of sRGB's red
    for seen in SEEN_WITH.values():
        np.testing.assert_allclose(seen @ linear(white), linear(white), atol=1e-3)  # white stays white


@pytest.mark.parametrize(("scheme", "colours"), [("light", COLOURS), ("dark", DARK_COLOURS)])
def test_colours_stand_out_from_the_page(scheme: str, colours: tuple[str, ...]) -> None:
    assert min(contrast(components(colour), components(PAGES[scheme])) for colour in colours) >= 3.0


@pytest.mark.parametrize("seen_with", SEEN_WITH)
@pytest.mark.parametrize("colours", [COLOURS, DARK_COLOURS], ids=["light", "dark"])
def test_colours_differ_for_every_eye(colours: tuple[str, ...], seen_with: str) -> None:
    seen = [lab(np.clip(SEEN_WITH[seen_with] @ linear(components(colour)), 0, 1)) for colour in colours]
    distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
    assert min(distances) >= 16.0
