"""Recognizes a file's kind by its first bytes; names common kinds that Parley can't read."""

from __future__ import annotations

_PICTURES = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
)
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1")
_AVIF = (b"avif", b"avis")

_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive or Office document"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "a rich-text document"),
    (b"%!PS", "a PostScript file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"SQLite format 3\0", "a database"),
    (b"ID3", "an audio file"),
    (b"fLaC", "an audio file"),
    (b"OggS", "an audio or video file"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop file"),
)


def is_pdf(data: bytes) -> bool:
    """Whether the file has a PDF header; some junk before it is common."""
    return b"%PDF-" in data[:1024]


def is_svg(data: bytes) -> bool:
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!")) and b"<svg" in start)


def is_picture(data: bytes) -> bool:
    """Whether the file begins like a picture that Parley can read, even if it is damaged."""
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    return data.startswith(_PICTURES) or _brand(data) in (*_HEIF, *_AVIF)


def unsupported(data: bytes) -> str | None:
    """The file's kind, with an article, if it is one that Parley can't read."""
    if data[:4] == b"RIFF":
        return {b"WAVE": "an audio file", b"AVI ": "a video"}.get(data[8:12])
    if _brand(data):
        return "an audio file" if _brand(data) == b"M4A " else "a video"
    if len(data) > 2 and data[0] == 0xFF and data[1] in (0xFB, 0xF3, 0xF2, 0xF1, 0xF9):
        return "an audio file"
    return next((name for start, name in _OTHERS if data.startswith(start)), None)


def _brand(data: bytes) -> bytes:
    """The major brand of an ISO media file (HEIF, AVIF, MP4, ...); empty for other files."""
    return data[8:12] if data[4:8] == b"ftyp" else b""
