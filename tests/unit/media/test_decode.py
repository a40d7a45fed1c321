"""Whatever people upload becomes one plain RGB picture, or a reason in a few words."""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from bot.core.ports import BadImage
from bot.media.decode import decode
from bot.media.limits import FileLimits
from bot.media.read import read_picture
from tests.support.pictures import corner, encoded, noise, plain, png_header

LIMITS = FileLimits()
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"]
RED, WHITE = (255, 0, 0), (255, 255, 255)


def read(data: bytes, limits: FileLimits = LIMITS) -> Image.Image:
    """What the model gets, opened again."""
    result = read_picture(data, limits)
    image = Image.open(io.BytesIO(result.data))
    image.load()
    assert image.format in ("PNG", "JPEG")
    assert image.mode == "RGB"
    assert image.size == (result.width, result.height)
    assert result.digest == hashlib.sha256(result.data).hexdigest()
    return image


def reason(data: bytes, limits: FileLimits = LIMITS) -> str:
    with pytest.raises(BadImage) as caught:
        read_picture(data, limits)
    text = str(caught.value)
    assert len(text) < 100
    assert "\n" not in text
    return text


def near(found: Any, wanted: tuple[int, int, int], tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


class TestFormats:
    @pytest.mark.parametrize("format", FORMATS)
    def test_is_read(self, format: str) -> None:
        image = read(encoded(corner(), format))
        assert image.size == (40, 20)
        assert near(image.getpixel((3, 3)), RED, 20)
        assert near(image.getpixel((35, 15)), WHITE)

    @pytest.mark.parametrize(
        ("mode", "format"),
        [
            ("1", "PNG"),
            ("L", "PNG"),
            ("LA", "PNG"),
            ("P", "PNG"),
            ("RGBA", "PNG"),
            ("L", "JPEG"),
            ("CMYK", "JPEG"),
            ("YCbCr", "TIFF"),
            ("CMYK", "TIFF"),
            ("LAB", "TIFF"),
            ("RGBA", "WEBP"),
            ("1", "BMP"),
            ("P", "BMP"),
        ],
    )
    def test_modes(self, mode: str, format: str) -> None:
        source = corner()
        if mode == "LAB":
            source = ImageCms.profileToProfile(
                source,
                ImageCms.createProfile("sRGB"),
                ImageCms.createProfile("LAB"),
                outputMode="LAB",
            )
        else:
            source = source.convert(mode)
        image = read(encoded(source, format))
        assert near(image.getpixel((35, 15)), WHITE)
        if mode not in ("1", "L", "LA"):
            assert near(image.getpixel((3, 3)), RED, 30)

    def test_one_pixel(self) -> None:
        image = read(encoded(plain((1, 1))))
        assert image.size == (1, 1)
        assert image.getpixel((0, 0)) == (200, 30, 60)

    def test_a_palette_with_transparency_is_on_white(self) -> None:
        source = Image.new("P", (10, 10), 0)
        source.putpalette([0, 0, 0, 255, 0, 0])
        source.paste(1, (0, 0, 5, 10))
        image = read(encoded(source, "GIF", transparency=0))
        assert near(image.getpixel((1, 5)), RED)
        assert near(image.getpixel((9, 5)), WHITE)

    @pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0))])
    def test_a_transparent_color_is_on_white(self, mode: str, key: Any) -> None:
        source = plain((200, 200), 0 if mode == "L" else (0, 0, 0), mode)
        assert near(read(encoded(source, transparency=key)).getpixel((5, 5)), WHITE)

    def test_half_transparent_is_mixed_with_white(self) -> None:
        image = read(encoded(plain((9, 9), (255, 0, 0, 128), "RGBA")))
        assert near(image.getpixel((4, 4)), (255, 127, 127), 2)

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_sixteen_bits_a_channel_keep_their_shades(self, format: str) -> None:
        source = Image.new("I;16", (30, 10))
        for x in range(30):
            for y in range(10):
                source.putpixel((x, y), (x // 10) * 32_767)
        image = read(encoded(source, format))
        shades = [image.getpixel((x, 5))[0] for x in (2, 15, 27)]
        assert near(shades, (0, 127, 255), 2)

    def test_floats_are_stretched(self) -> None:
        source = Image.new("F", (20, 10), -3.0)
        source.paste(5.0, (10, 0, 20, 10))
        image = read(encoded(source, "TIFF"))
        assert (image.getpixel((2, 5))[0], image.getpixel((17, 5))[0]) == (0, 255)

    @pytest.mark.parametrize(
        ("format", "note"),
        [
            ("GIF", "it's animated, and I see only the first frame"),
            ("WEBP", "it's animated, and I see only the first frame"),
            ("PNG", "it's animated, and I see only the first frame"),
            ("AVIF", "it's animated, and I see only the first frame"),
            ("TIFF", "I see only its first page"),
        ],
    )
    def test_of_many_frames_the_first_and_it_says_so(self, format: str, note: str) -> None:
        frames = [plain((20, 20), color) for color in ("red", "blue", "green")]
        options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
        if format == "WEBP":
            options["lossless"] = True
        data = encoded(frames[0], format, **options)
        assert near(read(data).getpixel((9, 9)), RED, 20)
        assert read_picture(data, LIMITS).note == note

    @pytest.mark.parametrize("format", FORMATS)
    def test_of_one_frame_nothing_is_said(self, format: str) -> None:
        assert read_picture(encoded(corner(), format), LIMITS).note == ""

    def test_cmyk_from_a_photo_editor(self) -> None:
        """Adobe writes CMYK inverted; pure cyan must not come out red."""
        image = read(encoded(plain((20, 20), (255, 0, 0, 0), "CMYK"), "JPEG"))
        assert near(image.getpixel((9, 9)), (0, 255, 255), 20)


class TestUpright:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
    @pytest.mark.parametrize(
        ("orientation", "size", "red_at"),
        [
            (1, (40, 20), (3, 3)),
            (2, (40, 20), (36, 3)),
            (3, (40, 20), (36, 16)),
            (4, (40, 20), (3, 16)),
            (5, (20, 40), (3, 3)),
            (6, (20, 40), (16, 3)),
            (7, (20, 40), (16, 36)),
            (8, (20, 40), (3, 36)),
        ],
    )
    def test_exif_orientation(
        self, format: str, orientation: int, size: tuple[int, int], red_at: tuple[int, int]
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = read(encoded(corner(), format, exif=exif))
        assert image.size == size
        assert near(image.getpixel(red_at), RED, 40)
        opposite = (size[0] - 1 - red_at[0], size[1] - 1 - red_at[1])
        assert near(image.getpixel(opposite), WHITE, 40)

    @pytest.mark.parametrize("format", ["JPEG", "TIFF"])
    def test_turned_and_scaled(self, format: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        image = read(encoded(corner((400, 200)), format, exif=exif), FileLimits(max_side=100))
        assert image.size == (50, 100)

    @pytest.mark.parametrize("value", [0, 9, 77])
    def test_an_orientation_that_does_not_exist(self, value: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        assert read(encoded(corner(), "JPEG", exif=exif)).size == (40, 20)


class TestMetadata:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("picture", [corner(), noise((300, 200))], ids=["flat", "photo"])
    def test_is_dropped(self, picture: Image.Image, format: str) -> None:
        exif = Image.Exif()
        exif[0x010F] = "SecretCameraMaker"
        options: dict[str, Any] = {"exif": exif}
        if format == "JPEG":
            options["comment"] = "SecretComment"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        source = encoded(picture, format, icc_profile=profile, dpi=(300, 300), **options)
        assert b"Secret" in source
        result = read_picture(source, LIMITS)
        assert b"Secret" not in result.data
        image = Image.open(io.BytesIO(result.data))
        assert not image.getexif()
        assert not {"icc_profile", "comment", "dpi", "exif"} & set(image.info)

    def test_the_color_profile_is_applied(self) -> None:
        source = plain((200, 200), (0, 255, 0)).convert("RGB")
        swapped = _profile_with_red_and_green_swapped()
        assert near(read(encoded(source, icc_profile=swapped)).getpixel((9, 9)), RED, 40)

    @pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200])
    def test_a_broken_profile_is_ignored(self, profile: bytes) -> None:
        assert near(read(encoded(plain(), icc_profile=profile)).getpixel((5, 5)), (200, 30, 60))

    def test_a_profile_of_another_color_space_is_ignored(self) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        assert near(read(encoded(plain(), icc_profile=lab)).getpixel((5, 5)), (200, 30, 60))


class TestSize:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((200, 100), (100, 50)),
            ((100, 200), (50, 100)),
            ((101, 100), (100, 99)),
            ((100, 100), (100, 100)),
            ((99, 30), (99, 30)),
            ((1000, 10), (100, 1)),
        ],
    )
    @pytest.mark.parametrize("format", ["PNG", "JPEG"])
    def test_the_longer_side_is_bounded(
        self, size: tuple[int, int], expected: tuple[int, int], format: str
    ) -> None:
        assert read(encoded(plain(size), format), FileLimits(max_side=100)).size == expected

    def test_default_side(self) -> None:
        assert read(encoded(noise((3584, 300)), "JPEG")).size == (1792, 150)

    def test_text_stays_legible(self) -> None:
        """A fine grid scaled by a half is an even grey: pixels are mixed, not left out."""
        source = Image.new("L", (400, 400), 255)
        draw = ImageDraw.Draw(source)
        for x in range(0, 400, 2):
            draw.line((x, 0, x, 400), fill=0)
        image = read(encoded(source), FileLimits(max_side=200))
        assert near(image.getpixel((100, 100)), (128, 128, 128), 20)

    def test_small_and_flat_are_png_photographs_jpeg(self) -> None:
        assert read(encoded(noise((100, 100)), "JPEG")).format == "PNG"
        assert read(encoded(corner((1000, 800)), "PNG")).format == "PNG"
        assert read(encoded(noise((1000, 800)), "PNG")).format == "JPEG"

    def test_always_the_same_bytes(self) -> None:
        for picture in (noise((700, 500)), corner()):
            data = encoded(picture)
            assert read_picture(data, LIMITS) == read_picture(data, LIMITS)

    def test_the_same_pixels_from_other_containers_are_the_same_picture(self) -> None:
        digests = {
            read_picture(encoded(corner(), format), LIMITS).digest
            for format in ("PNG", "BMP", "TIFF", "GIF")
        }
        assert len(digests) == 1


class TestRefused:
    def test_empty(self) -> None:
        assert reason(b"") == "an empty file"

    def test_too_many_bytes(self) -> None:
        small = FileLimits(max_bytes=20 * 1024 * 1024)
        assert reason(b"\0" * (31 * 1024 * 1024), small) == "too large, 31 MB, limit 20 MB"
        assert reason(b"\0" * 1_600_000, FileLimits(max_bytes=1 << 20)) == (
            "too large, 1.5 MB, limit 1.0 MB"
        )

    @pytest.mark.parametrize(
        "data",
        [
            b"hello",
            b"\0",
            b"%PDF-1.7 ...",
            b"PK\x03\x04" + b"\0" * 100,
            b"<html><body>hi</body></html>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
            b"P6 10 10 255\n" + b"\0" * 300,
            bytes(range(256)) * 10,
        ],
        ids=["text", "nul", "pdf", "zip", "html", "eps", "ppm", "bytes"],
    )
    def test_no_picture(self, data: bytes) -> None:
        assert reason(data) == "not a picture I can read"

    @pytest.mark.parametrize(
        "svg",
        [
            b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
            b'<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="9" height="9"></svg>',
            b"  \n<SVG></SVG>",
        ],
    )
    def test_svg(self, svg: bytes) -> None:
        assert reason(svg) == "an SVG drawing, which I can't read; please send a PNG"

    @pytest.mark.parametrize("format", FORMATS)
    def test_cut_short(self, format: str) -> None:
        data = encoded(noise((300, 200)), format)
        for length in (len(data) // 2, len(data) * 9 // 10):
            assert reason(data[:length]) in ("damaged or incomplete", "not a picture I can read")

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_start_only(self, format: str) -> None:
        data = encoded(noise((300, 200)), format)
        for length in (1, 2, 4, 8, 12, 20, 40):
            reason(data[:length])

    @pytest.mark.parametrize("size", [(20_000, 20_000), (65_535, 65_535), (2**31 - 1, 2**31 - 1)])
    def test_a_bomb_is_refused_by_its_header(
        self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(_: object) -> None:
            raise AssertionError("it was decoded")

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
        assert reason(png_header(*size)).startswith("too many pixels")

    def test_a_real_bomb_is_not_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(_: object) -> None:
            raise AssertionError("it was decoded")

        bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")
        assert len(bomb) < 100_000
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
        assert reason(bomb) == "too many pixels, 12000 x 12000, limit 50 megapixels"

    @pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 900)])
    def test_strips(self, size: tuple[int, int]) -> None:
        words = reason(encoded(plain(size)))
        assert words == f"too long and thin, {size[0]} x {size[1]}"

    def test_a_gif_whose_frame_is_larger_than_its_screen(self) -> None:
        data = bytearray(encoded(plain((10, 10)), "GIF"))
        at = data.index(b"\x2c")  # the image descriptor
        data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
        with pytest.raises(BadImage):
            read_picture(bytes(data), FileLimits(max_pixels=1_000_000))


class TestHostile:
    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(FORMATS),
        st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    )
    def test_flipped_bytes_give_a_picture_or_a_reason(
        self, format: str, changes: list[tuple[float, int]]
    ) -> None:
        data = bytearray(encoded(corner((32, 24)), format))
        for place, value in changes:
            data[int(place * (len(data) - 1))] = value
        try:
            result = read_picture(bytes(data), FileLimits(max_pixels=1_000_000))
        except BadImage:
            return
        assert max(result.width, result.height) <= LIMITS.max_side

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        for start in (
            b"",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF",
            b"II*\0",
            b"BM",
        ):
            with pytest.raises(BadImage):
                read_picture(start + data, LIMITS)

    def test_a_decoder_that_runs_out_of_memory_is_no_crash(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def exhausted(_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhausted)
        assert reason(encoded(plain())) == "damaged or incomplete"

    def test_a_refusal_of_the_size_is_passed_on(self) -> None:
        def refuse(width: int, height: int) -> None:
            raise BadImage(f"{width} by {height}")

        with pytest.raises(BadImage, match="40 by 30"):
            decode(encoded(plain()), refuse, 100)


def _profile_with_red_and_green_swapped() -> bytes:
    """sRGB with the tags of its red and green primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)
