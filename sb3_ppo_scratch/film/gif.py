"""Animated GIFs of any length, written as their pictures come.

What is here: putting short GIFs, which Pillow makes, one behind the other. What is not: what the pictures show
(`pictures.py`). Pillow and imageio alone hold every picture until the last is there.

Source:
    GIF89a Specification, https://www.w3.org/Graphics/GIF/spec-gif89a.txt, sections 17 to 27.
"""

import io
from pathlib import Path
from types import TracebackType

from PIL import Image

from sb3_ppo_scratch.film.playing import Picture

PART = 32
"""Pictures that are held at a time; of each such part, Pillow writes the first picture whole and then what changes."""
HEADER_BYTES = 13
"""Header and logical screen descriptor; the table of colours follows."""
SIZES, TABLE_SIZE, HAS_TABLE = 10, 0b111, 0b1000_0000
"""Where the header describes the table of colours, and how: 2 to the power of (size + 1) colours of 3 bytes."""
DESCRIPTOR_BYTES = 10
"""Of a picture; the last describes its own table of colours, which follows."""
EXTENSION, TRAILER = 0x21, b";"


class GifWriter:
    """Writes a GIF that is played for ever; a context manager, like imageio's writers.

    Args:
        path: The file.
        duration: Milliseconds of a picture.
    """

    def __init__(self, path: Path, duration: float) -> None:
        self._file = path.open("wb")
        self._duration = duration
        self._part: list[Image.Image] = []

    def append_data(self, picture: Picture) -> None:
        """Add a picture.

        Args:
            picture: Shape (height, width, 3), the same for all.
        """
        self._part.append(Image.fromarray(picture))
        if len(self._part) == PART:
            self._write_part()

    def close(self) -> None:
        """Write what is left, and close the file."""
        with self._file:
            if self._part:
                self._write_part()
            self._file.write(TRAILER)

    def _write_part(self) -> None:
        """Write the pictures that are held."""
        is_first = self._file.tell() == 0
        loop = {"loop": 0} if is_first else {}
        encoded = io.BytesIO()
        first, *others = self._part
        first.save(encoded, "GIF", save_all=True, append_images=others, duration=self._duration, **loop)
        self._file.write(encoded.getvalue().removesuffix(TRAILER) if is_first else pictures_alone(encoded.getvalue()))
        self._part.clear()

    def __enter__(self) -> "GifWriter":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        self.close()


def pictures_alone(gif: bytes) -> bytes:
    """Cut the pictures out of a GIF, so that they can stand in another one of the same size.

    Args:
        gif: The file, whose first picture takes the colours of the whole file.

    Returns:
        Everything between the header and the end, with these colours as the first picture's own.
    """
    size = gif[SIZES] & TABLE_SIZE
    after_table = HEADER_BYTES + 3 * 2 ** (size + 1)
    descriptor = after_table
    while gif[descriptor] == EXTENSION:
        descriptor += 2
        while gif[descriptor]:  # blocks of data, each behind its length, until one of length 0
            descriptor += 1 + gif[descriptor]
        descriptor += 1
    sizes = descriptor + DESCRIPTOR_BYTES - 1
    own_table = bytes([gif[sizes] | HAS_TABLE | size]) + gif[HEADER_BYTES:after_table]
    return gif[after_table:sizes] + own_table + gif[sizes + 1 :].removesuffix(TRAILER)
