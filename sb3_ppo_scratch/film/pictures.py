"""From episodes to a film: captions, agents side by side, and the file.

What is here: functions that take pictures as they come and keep none, and writing them; of a GIF, a byte per pixel is
kept until the end, since its writers work so. What is not: playing (`playing.py`).
"""

import contextlib
import importlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.film.playing import Moment, Picture

FORMATS = {".gif": "PIL", ".mp4": "imageio_ffmpeg"}
"""By the file's ending the package that writes it."""
GIF_RATE = 50
"""Pictures per second at the most: viewers show faster GIFs slowly."""
CAPTION_HEIGHT = 0.09
"""Share of a picture's height that one line of text takes."""
PAUSE_SECONDS = 1.0
"""How long the last picture of an episode stands."""


def caption_pictures(shown: Iterable[tuple[Moment, Picture]], title: str) -> Iterator[Picture]:
    """Write title, step and the return so far into an episode's pictures.

    Args:
        shown: Where the episode stands, with a picture of it, shape (height, width, 3).
        title: Who plays.

    Yields:
        Pictures, shape (height, width, 3).
    """
    for moment, picture in shown:
        end = "   end" if moment.ended else ""
        yield write_text(picture, f"{title}   step {moment.step}   return {moment.total:.1f}{end}")


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


def write_film(pictures: Iterable[Picture], path: Path, rate: float, width: int) -> int:
    """Write a film, picture by picture as they come; until it is whole, the file has another name.

    Args:
        pictures: At least one, shape (height, width, 3) each.
        path: Where to; `check_output` has nothing against it.
        rate: Pictures per second.
        width: Pixels of the film; pictures are never made larger.

    Returns:
        How many pictures came.
    """
    is_gif = path.suffix.lower() == ".gif"
    every, multiple_of = (max(1, round(rate / GIF_RATE)), 1) if is_gif else (1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished_{path.name}")
    n_pictures = 0
    try:
        writer: Any = _GifWriter(unfinished, 1000 * every / rate) if is_gif else _open_mp4(unfinished, rate)
        with contextlib.closing(writer):
            for picture in pictures:
                if n_pictures % every == 0:
                    writer.append_data(shrink(picture, width, multiple_of))
                n_pictures += 1
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return n_pictures


class _GifWriter:
    """Writes a GIF that is played for ever, with the interface of imageio's writers.

    Args:
        path: The file.
        duration: Milliseconds of a picture.
    """

    def __init__(self, path: Path, duration: float) -> None:
        self._path, self._duration = path, duration
        self._pictures: list[Image.Image] = []

    def append_data(self, picture: Picture) -> None:
        """Add a picture, shape (height, width, 3), in the 256 colours that suit it best."""
        self._pictures.append(Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE))

    def close(self) -> None:
        """Write the file."""
        if self._pictures:
            first, *others = self._pictures
            first.save(self._path, save_all=True, append_images=others, duration=self._duration, loop=0)


def _open_mp4(path: Path, rate: float) -> Any:
    """Open what writes MP4."""
    import imageio.v2 as imageio

    return imageio.get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2)


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
