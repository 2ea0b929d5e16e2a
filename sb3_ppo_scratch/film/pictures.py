"""From episodes to a film: captions, agents side by side, and the file.

What is here: pure functions on pictures, and writing them. What is not: playing (`playing.py`).
"""

import importlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.film.playing import Episode, Picture

FORMATS = {".gif": "imageio", ".mp4": "imageio_ffmpeg"}
"""By the file's ending the package that writes it."""
GIF_RATE = 50
"""Pictures per second at the most: viewers show faster GIFs slowly."""
CAPTION_HEIGHT = 0.09
"""Share of a picture's height that one line of text takes."""
PAUSE_SECONDS = 1.0
"""How long the last picture of an episode stands."""


def caption_pictures(episode: Episode, title: str) -> Iterator[Picture]:
    """Write title, step and the return so far into an episode's pictures.

    Args:
        episode: An episode with pictures.
        title: Who plays.

    Yields:
        Pictures, shape (height, width, 3).
    """
    totals = [0.0, *itertools.accumulate(episode.rewards)]
    n_steps = len(episode.rewards)
    for step, picture in enumerate(episode.pictures):
        yield write_text(picture, f"{title}   step {step}   return {totals[step]:.1f}")
    # What the last step led to cannot be seen any more; its reward can.
    yield write_text(episode.pictures[-1], f"{title}   step {n_steps}   return {totals[-1]:.1f}   end")


def write_text(picture: Picture, text: str) -> Picture:
    """Write one line of text at the top of a picture, on a dark stripe.

    Args:
        picture: Shape (height, width, 3).
        text: The line; made smaller until it fits.

    Returns:
        A new picture, same shape.
    """
    image = Image.fromarray(picture)
    height = max(10, round(picture.shape[0] * CAPTION_HEIGHT))
    draw = ImageDraw.Draw(image)
    size = height * 0.7
    font = ImageFont.load_default(size)
    while draw.textlength(text, font=font) > picture.shape[1] - 8 and size > 6:
        size -= 1
        font = ImageFont.load_default(size)
    draw.rectangle((0, 0, picture.shape[1], height), fill=(30, 30, 30))
    draw.text((4, height / 2), text, fill=(255, 255, 255), font=font, anchor="lm")
    return np.asarray(image)


def side_by_side(left: Iterable[Picture], right: Iterable[Picture]) -> Iterator[Picture]:
    """Show two films in one; the one that ends first stands still.

    Args:
        left: Pictures, shape (height, width, 3).
        right: Pictures, shape (height, width, 3).

    Yields:
        Pictures, shape (height, 2 * width, 3).
    """
    last_left = last_right = None
    for one, other in itertools.zip_longest(left, right):
        last_left = last_left if one is None else one
        last_right = last_right if other is None else other
        assert last_left is not None
        assert last_right is not None
        yield np.concatenate([last_left, last_right], axis=1)


def hold_last(pictures: Iterable[Picture], n_pictures: int) -> Iterator[Picture]:
    """Let the last picture stand.

    Args:
        pictures: Shape (height, width, 3).
        n_pictures: How often it is repeated.

    Yields:
        Pictures, shape (height, width, 3).
    """
    last = None
    for picture in pictures:
        last = picture
        yield picture
    if last is not None:
        yield from itertools.repeat(last, n_pictures)


def check_output(path: Path) -> None:
    """Refuse files that cannot be written, before anything is played.

    Args:
        path: Where the film goes.

    Raises:
        ArgumentError: If its ending names no format, or a package that the format needs is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise ArgumentError(f"`--out {path}` must end in {' or '.join(FORMATS)}.")
    needed = FORMATS[path.suffix.lower()]
    try:
        importlib.import_module(needed)
    except ImportError as error:
        raise ArgumentError(
            f"`--out {path}` needs the package {needed.replace('_', '-')}: pip install {needed.replace('_', '-')}."
        ) from error


def write_film(pictures: Sequence[Picture], path: Path, rate: float, width: int) -> None:
    """Write a film.

    Args:
        pictures: At least one, shape (height, width, 3) each.
        path: Where to; `check_output` has nothing against it.
        rate: Pictures per second.
        width: Pixels of the film; pictures are never made larger.
    """
    import imageio.v2 as imageio

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".gif":
        every = max(1, round(rate / GIF_RATE))
        shown = [shrink(picture, width) for picture in pictures[::every]]
        imageio.mimwrite(path, shown, format="GIF", duration=1000 * every / rate, loop=0)  # type: ignore[arg-type] # a list of arrays
    else:
        shown = [shrink(picture, width, multiple_of=2) for picture in pictures]
        imageio.mimwrite(path, shown, format="FFMPEG", fps=rate, macro_block_size=2)  # type: ignore[arg-type] # as above


def shrink(picture: Picture, width: int, multiple_of: int = 1) -> Picture:
    """Make a picture smaller.

    Args:
        picture: Shape (height, width, 3).
        width: Pixels at the most.
        multiple_of: Both sides become multiples of this.

    Returns:
        The picture, its proportions kept.
    """
    scale = min(1.0, width / picture.shape[1])
    sides = [max(multiple_of, round(side * scale) // multiple_of * multiple_of) for side in picture.shape[1::-1]]
    return np.asarray(Image.fromarray(picture).resize((sides[0], sides[1]), Image.Resampling.LANCZOS))
