"""Decodes any picture into plain RGB and encodes it again. Blocking."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import NamedTuple, cast

import pi_heif
from PIL import Image, ImageCms, features

from bot.core.ports import BadImage
from bot.media import texts

logger = logging.getLogger(__name__)

# Pillow prints warnings about odd files to stderr, which operators can't act on.
warnings.filterwarnings("ignore", module=r"PIL\.")

pi_heif.register_heif_opener(thumbnails=False)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF") + (
    ("AVIF",) if features.check("avif") else ()
)

CheckSize = Callable[[int, int], None]

_NOTES = {
    "GIF": texts.FIRST_FRAME,
    "PNG": texts.FIRST_FRAME,
    "WEBP": texts.FIRST_FRAME,
    "AVIF": texts.FIRST_FRAME,
    "TIFF": texts.FIRST_PAGE,
}

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_FLAT_COLORS = 4096  # pictures with at most this many are stored as PNG, which keeps drawings sharp
_SMALL_PIXELS = 128 * 128
_JPEG_QUALITY = 90


class Picture(NamedTuple):
    """A decoded picture; `note`: what of the file it doesn't show."""

    image: Image.Image
    note: str


def opens(data: bytes) -> bool:
    """Whether the header is that of a picture, even of one with too many pixels."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:
        return False


def decode(data: bytes, check_size: CheckSize, max_side: int) -> Picture:
    """The first frame as sRGB: upright, on white, its longer side at most `max_side` pixels.

    `check_size` is called with the width and height from the header before anything is decoded.

    Raises:
        BadImage: not a picture, damaged, or rejected by `check_size`.
    """
    with _open(data) as source:
        check_size(*source.size)
        try:
            return Picture(_normalize(source, max_side), _note(source))
        except BadImage:
            raise
        except Exception as error:  # hostile bytes can make a decoder raise anything
            logger.debug("a %s could not be decoded: %r", source.format, error)
            raise BadImage(texts.DAMAGED_PICTURE) from error


def encode(image: Image.Image) -> bytes:
    """PNG if it is small or has few colors, else JPEG; no metadata, deterministic."""
    buffer = io.BytesIO()
    image.info.clear()  # Pillow would write comments and profiles from there
    small = image.width * image.height <= _SMALL_PIXELS
    if small or image.getcolors(_FLAT_COLORS) is not None:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage(texts.TOO_MANY_PIXELS) from error
    except Exception as error:
        raise BadImage(texts.NOT_A_PICTURE) from error


def _note(loaded: Image.Image) -> str:
    """A note if the file has more than the first frame or page."""
    try:
        more = bool(getattr(loaded, "is_animated", False))
    except Exception:  # the later frames are damaged
        more = True
    return _NOTES.get(loaded.format or "", "") if more else ""


def _normalize(source: Image.Image, max_side: int) -> Image.Image:
    size = _fit(source.size, max_side)
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 size; at least twice the target keeps it sharp.
    drafted = source.draft(None, (2 * size[0], 2 * size[1]))
    source.load()
    if drafted is None:
        size = _fit(source.size, max_side)  # loading may have rotated a TIFF
    turn = _UPRIGHT.get(_orientation(source))
    image = _resizable(source)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image = _to_rgb(image, source.info.get("icc_profile"))
    return image.transpose(turn) if turn is not None else image


def _orientation(loaded: Image.Image) -> int:
    """The EXIF orientation; read it after loading, which rotates a TIFF and drops the tag."""
    try:
        value = loaded.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata doesn't make the picture unreadable
        return 1
    return value if isinstance(value, int) else 1


def _fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """`size` scaled down so that its longer side is at most `max_side`."""
    width, height = size
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resizable(image: Image.Image) -> Image.Image:
    """Convert to an 8-bit mode that can be resized smoothly: L, RGB, RGBA, CMYK or similar."""
    if image.mode in ("PA", "LA", "La", "RGBa"):
        return image.convert("RGBA")
    if image.mode == "P" or (image.mode in ("L", "RGB") and "transparency" in image.info):
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return _squeeze(image.convert("I"), 0, 65_535)
    if image.mode in ("I", "F"):
        low, high = cast("tuple[float, float]", image.getextrema())
        return _squeeze(image, low, high)
    return image


def _squeeze(image: Image.Image, low: float, high: float) -> Image.Image:
    """Map `low` to `high` linearly to 0 to 255."""
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale - low * scale).convert("L")


def _to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB; composite transparency on white."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    opaque = image.convert("RGB") if alpha is not None else image
    colors = _to_srgb(opaque, profile) or opaque.convert("RGB")
    if alpha is None:
        return colors
    white = Image.new("RGB", image.size, "white")
    white.paste(colors, mask=alpha)
    return white


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Convert with the picture's color profile; None if it has no usable one."""
    if not profile or len(profile) > _MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACE.get(image.mode):
            return None
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.debug("a color profile was ignored: %r", error)
        return None
