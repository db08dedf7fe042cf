"""A user's file as bytes and as text: decompressed, and decoded by its byte order mark or the given encoding."""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import harness


def _unzstd(data: bytes) -> bytes:
    import io

    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
            return reader.read()
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


_PACKED: Mapping[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ": ("xz", lzma.decompress),
    b"\x28\xb5\x2f\xfd": ("zstandard", _unzstd),
}
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""Longer marks first, because one is a prefix of another."""
_MULTIBYTE = {
    "utf-8",
    "gb18030",
    "gbk",
    "gb2312",
    "big5",
    "big5hkscs",
    "cp932",
    "shift_jis",
    "cp949",
    "euc_kr",
    "euc_jp",
}
_WESTERN = {"cp1252", "iso8859-1", "iso8859-15"}
_SAMPLE_LINES = 200
_SAMPLE_BYTES = 4096
_FEW_BYTES = 16
"""Number of non-ASCII bytes below which the encoding cannot be inferred from the bytes."""
_SHOWN = 40


class Decoded(NamedTuple):
    """The text of a file."""

    text: str
    notes: tuple[str, ...]
    """Notes on the encoding, if it is not plain UTF-8."""


def plain_suffix(path: str) -> str:
    """Return a file's extension in lower case, without that of its compression."""
    name = Path(path)
    return Path(name.stem).suffix.lower() if name.suffix.lower() in PACKED_SUFFIXES else name.suffix.lower()


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed if needed.

    Raises:
        HarnessError: The file is an archive of several files, or damaged.
    """
    data = path.read_bytes()
    for mark, (name, unpack) in _PACKED.items():
        if data.startswith(mark):
            try:
                return unpack(data)
            except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
                message = f"{path}: cannot decompress as {name}: {error}"
                raise harness.HarnessError(message) from None
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".7z", ".rar")):
        message = f"{path}: is an archive; unpack it and give the file inside"
        raise harness.HarnessError(message)
    if data.startswith(b"PK\x03\x04") and plain_suffix(str(path)) == ".zip":
        message = f"{path}: is a ZIP archive; unpack it and give the file inside"
        raise harness.HarnessError(message)
    return data


def decode(path: Path, data: bytes, encoding: str | None) -> Decoded:
    """Return a file's text, decoded by the given encoding, by its byte order mark, or as UTF-8.

    No other encoding is tried: single-byte encodings decode any file without an error.

    Raises: HarnessError: The file is not in this encoding, decodes to nonsense, or the encoding is unknown; the message
        says what the file looks like.
    """
    if encoding is None:
        for mark, marked in _MARKS:
            if data.startswith(mark):
                notes = () if marked == "utf-8-sig" else (f"encoding {marked.upper()}",)
                return Decoded(_strictly(path, data, marked), notes)
        if data[:_SAMPLE_BYTES].count(0) > len(data[:_SAMPLE_BYTES]) // 4:
            # UTF-16 letters decode as UTF-8 letters and null characters.
            message = f"{path}: not UTF-8; {_looks_like(data, _likely(data))}"
            raise harness.HarnessError(message)
        return Decoded(_strictly(path, data, "utf-8"), ())
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        message = (
            f"{path}: unknown encoding {encoding!r}; use a name that Python knows, such as utf-8, cp1252 or gb18030"
        )
        raise harness.HarnessError(message) from None
    text = _strictly(path, data, name).removeprefix("\ufeff")
    if name not in _MULTIBYTE and (likely := _contradicted(data, text, name)) and codecs.lookup(likely).name != name:
        message = f"{path}: does not look like {encoding}; {_looks_like(data, likely)}"
        raise harness.HarnessError(message)
    return Decoded(text, () if name == "utf-8" else (f"encoding {encoding}",))


def read_text(path: Path, encoding: str | None) -> Decoded:
    """Return the text of a file, decompressed and decoded.

    Raises:
        HarnessError: See `read_bytes` and `decode`.
    """
    return decode(path, read_bytes(path), encoding)


def _strictly(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"{path}: not {encoding.removesuffix('-sig').upper()} (line {line}); {_looks_like(data, _likely(data))}"
        )
        raise harness.HarnessError(message) from None


def _contradicted(data: bytes, text: str, name: str) -> str | None:
    """Return the encoding a file seems to have instead of the given single-byte one; None if nothing contradicts it."""
    if text.isascii() or data.isascii() or name.startswith(("utf-16", "utf-32", "iso2022")):
        return None
    likely = _likely(data)
    if likely is None or likely in _WESTERN:
        # Texts do not contain these control characters; they come from quotes and dashes in another encoding.
        controls = any("\x80" <= character <= "\x9f" and character != "\x85" for character in text)
        return likely if controls and likely != "iso8859-1" else None
    # One alphabet may be mistaken for another by chance, but not if the given encoding yields no words of any language.
    # A few bytes are valid in several encodings by chance; then the given encoding is trusted.
    many = sum(byte > 127 for byte in data) >= _FEW_BYTES
    return likely if many and (likely in _MULTIBYTE or not _makes_words(data, name)) else None


def _likely(data: bytes) -> str | None:
    """Return the most likely encoding of a file's non-ASCII lines; None if none fits."""
    if (start := data[:_SAMPLE_BYTES]).count(0) > len(start) // 4:
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    found = _matches(data)
    if not found:
        return None
    alike = {
        codecs.lookup(name).name
        for match in found
        if match.chaos <= found[0].chaos + 0.02
        for name in match.could_be_from_charset
    }
    # Windows in western Europe and America writes cp1252; other encodings that fit as well do so by chance.
    return "cp1252" if "cp1252" in alike else codecs.lookup(found[0].encoding).name


def _makes_words(data: bytes, name: str) -> bool:
    """Return whether an encoding is among the possible ones of a file's lines."""
    possible = {codecs.lookup(known).name for match in _matches(data) for known in match.could_be_from_charset}
    return name in possible or (name in _WESTERN and bool(possible & _WESTERN))


def _matches(data: bytes) -> Sequence[Any]:
    """Return the possible encodings of a file's non-ASCII lines, the most likely first."""
    import charset_normalizer

    lines = [part for part in data[: 1 << 22].splitlines() if not part.isascii()][:_SAMPLE_LINES]
    return list(charset_normalizer.from_bytes(b"\n".join(lines) if lines else data))


def _looks_like(data: bytes, likely: str | None) -> str:
    """Return the likely encoding of a file, a line decoded with it, and the option that sets it."""
    if likely is None:
        return "save it as UTF-8, or set its encoding with -o file.encoding=NAME"
    sample = ""
    for line in data.decode(likely, errors="replace").splitlines():
        at = next((place for place, character in enumerate(line) if not character.isascii()), None)
        if at is not None:
            sample = line[max(0, at - _SHOWN // 2) : at + _SHOWN // 2].strip()
            break
    shown = f" (a line would read {sample!r})" if sample else ""
    if likely == "utf-8":
        return f"it looks like UTF-8{shown}: remove file.encoding"
    return f"it looks like {likely}{shown}: if that is right, use -o file.encoding={likely}, or save the file as UTF-8"
