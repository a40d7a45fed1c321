"""Text files and PDFs become text; everything else is named for what it is."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from bot.core.ports import BadImage
from bot.core.records import FileText, NormalizedImage
from bot.media.limits import FileLimits
from bot.media.read import read_file
from tests.support.pictures import encoded, plain

LIMITS = FileLimits()


def text_of(data: bytes, limits: FileLimits = LIMITS) -> FileText:
    content = read_file(data, limits)
    assert isinstance(content, FileText)
    return content


def reason(data: bytes, limits: FileLimits = LIMITS) -> str:
    with pytest.raises(BadImage) as caught:
        read_file(data, limits)
    return str(caught.value)


def outcome(data: bytes) -> FileText | str:
    """The text, or the reason why there is none."""
    try:
        return text_of(data)
    except BadImage as error:
        return str(error)


def pdf(*pages: str, password: str = "") -> bytes:
    """A PDF of these pages in Helvetica."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for words in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({words}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = stream
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "hello",
            "# Title\n\n- one\n- two",
            "a,b\n1,2",
            '{"a": [1, 2]}',
            "def f():\n\treturn 1",
            "<html><body>hi</body></html>",
            "BMW is a car\nMZ is no program\n",
            "Grüße aus Köln, 東京 и Москва 😀",
        ],
    )
    def test_is_read(self, text: str) -> None:
        assert text_of(text.encode()) == FileText(text.strip("\n"))

    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252", "iso-8859-1", "cp1251", "shift_jis"]
    )
    def test_whatever_its_charset(self, encoding: str) -> None:
        text = {
            "cp1251": "Съешь ещё этих мягких французских булок, да выпей же чаю. " * 5,
            "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見當がつかぬ。" * 5,
        }.get(encoding, "Die Größe der Straße ist für Öl und Äpfel überall gleich schön. " * 5)
        text = text.strip().replace("當", "当")
        assert text_of(text.encode(encoding)).text == text

    def test_big_endian_with_a_mark(self) -> None:
        assert text_of("\ufeffGrüße".encode("utf-16-be")).text == "Grüße"

    def test_line_ends_and_colors_of_logs(self) -> None:
        assert (
            text_of(b"one\r\ntwo  \rthree\n\x1b[31mred\x1b[0m\n\n").text == "one\ntwo\nthree\nred"
        )

    def test_cut_off_inside_a_character(self) -> None:
        assert text_of("Köln ist schön €".encode()[:-1]).text == "Köln ist schön"

    @pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf", b"\xff\xfe"])
    def test_nothing_in_it(self, data: bytes) -> None:
        assert reason(data) == "an empty file"

    def test_long_ones_are_cut_in_the_middle_and_it_says_so(self) -> None:
        text = "\n".join(f"line {n}" for n in range(1000))
        found = text_of(text.encode(), FileLimits(max_chars=300))
        assert found.text.startswith("line 0\nline 1\n")
        assert found.text.endswith("line 999")
        assert "[... 8,589 characters left out ...]" in found.text
        assert found.note == "I read its start and its end, 300 of 8,889 characters"

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=400))
    def test_any_bytes_are_text_or_have_a_reason(self, data: bytes) -> None:
        said = outcome(data)
        if isinstance(said, FileText):
            assert said.text
            assert "\0" not in said.text
        else:
            assert 0 < len(said) < 100

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1))
    def test_utf8_comes_back(self, text: str) -> None:
        if text.startswith(("%!PS", "<svg", "<?xml", "<!", "{\\rtf", "%PDF-", "PK", "BM", "ID3")):
            return
        assert text_of(text.encode()).text == unicodedata.normalize("NFC", text)


class TestPdf:
    def test_is_read(self) -> None:
        found = text_of(pdf("The first page", "The second page"))
        assert found == FileText("The first page\n\nThe second page")

    def test_pages_beyond_the_limit_are_said(self) -> None:
        found = text_of(pdf("one", "two", "three"), FileLimits(max_pages=2))
        assert found == FileText("one\n\ntwo", "I read its first 2 of 3 pages")

    def test_characters_beyond_the_limit_are_said(self) -> None:
        found = text_of(pdf("x" * 60, "y" * 60, "z" * 60), FileLimits(max_chars=100))
        assert found.note == "I read its first 2 of 3 pages"
        assert len(found.text) == 100

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (pdf(""), "a PDF without text (a scan?); please send its pages as pictures"),
            (pdf("secret", password="x"), "a PDF with a password, which I can't open"),
            (b"%PDF-1.7\n", "a damaged PDF"),
            (b"%PDF-1.7\n" + b"\0" * 5000, "a damaged PDF"),
            (pdf("x" * 500)[:300], "a damaged PDF"),
        ],
        ids=["empty", "locked", "header", "zeros", "cut"],
    )
    def test_refused(self, data: bytes, said: str) -> None:
        assert reason(data) == said

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20))
    def test_flipped_bytes_give_text_or_a_reason(self, changes: list[tuple[float, int]]) -> None:
        data = bytearray(pdf("hello", "world"))
        for place, value in changes:
            data[int(place * (len(data) - 1))] = value
        said = outcome(bytes(data))
        assert isinstance(said, FileText) or 0 < len(said) < 100


class TestKinds:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"PK\x03\x04" + b"\0" * 60, "a ZIP archive or Office document, which I can't read"),
            (b"\x1f\x8b\x08" + b"\0" * 60, "a gzip archive, which I can't read"),
            (b"\0\0\0\x20ftypisom" + b"\0" * 60, "a video, which I can't read"),
            (b"\0\0\0\x20ftypM4A " + b"\0" * 60, "an audio file, which I can't read"),
            (b"ID3\x04" + b"\0" * 60, "an audio file, which I can't read"),
            (b"\xff\xfb\x90\x64" + b"\0" * 60, "an audio file, which I can't read"),
            (b"RIFF\0\0\0\0WAVE" + b"\0" * 60, "an audio file, which I can't read"),
            (b"\x1a\x45\xdf\xa3" + b"\0" * 60, "a video, which I can't read"),
            (b"\x7fELF" + b"\0" * 60, "a program, which I can't read"),
            (b"MZ\x90\0" + b"\0" * 60, "a program, which I can't read"),
            (bytes(range(256)) * 4, "not a kind of file that I can read"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
            (b"\x89PNG\r\n\x1a\n\0\0", "damaged or incomplete"),
            (b"\0\0\0\x18ftypheic" + b"\0" * 50, "damaged or incomplete"),
        ],
        ids=lambda value: "" if isinstance(value, bytes) else value,
    )
    def test_are_named(self, data: bytes, said: str) -> None:
        assert reason(data).startswith(said)

    def test_names_and_types_are_not_asked(self) -> None:
        """`read_file` gets bytes only: a renamed picture is a picture, a renamed text a text."""
        assert isinstance(read_file(encoded(plain(), "WEBP"), LIMITS), NormalizedImage)

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "HEIF", "AVIF"])
    @pytest.mark.parametrize(
        "tail",
        [pdf("hello"), b"PK\x03\x04", b"<script>alert(1)</script>"],
        ids=["pdf", "zip", "js"],
    )
    def test_a_polyglot_is_a_picture_and_loses_the_rest(self, format: str, tail: bytes) -> None:
        content: Any = read_file(encoded(plain(), format) + tail, LIMITS)
        assert isinstance(content, NormalizedImage)
        assert tail not in content.data

    def test_a_pdf_behind_a_picture_comment(self) -> None:
        content: Any = read_file(encoded(plain(), "JPEG", comment=pdf("hello")), LIMITS)
        assert isinstance(content, NormalizedImage)
        assert b"%PDF" not in content.data
