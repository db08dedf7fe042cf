"""A person's file as bytes and as text: unpacked, and decoded by what it says or is told to be."""

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
"""The longer first: one begins as the other does."""
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
"""Beyond ASCII, below which a file's encoding cannot be told from its bytes."""
_SHOWN = 40


class Decoded(NamedTuple):
    """What a file says."""

    text: str
    notes: tuple[str, ...]
    """What was found of its encoding, where that is not plain UTF-8."""


def plain_suffix(path: str) -> str:
    """Return a file's ending without that of its compression, in lower case."""
    name = Path(path)
    return Path(name.stem).suffix.lower() if name.suffix.lower() in PACKED_SUFFIXES else name.suffix.lower()


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked where it is packed.

    Raises:
        HarnessError: It is an archive of several files, or damaged.
    """
    data = path.read_bytes()
    for mark, (name, unpack) in _PACKED.items():
        if data.startswith(mark):
            try:
                return unpack(data)
            except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
                message = f"{path}: cannot be unpacked as {name}: {error}"
                raise harness.HarnessError(message) from None
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".7z", ".rar")):
        message = f"{path}: an archive: unpack it and give the file inside"
        raise harness.HarnessError(message)
    if data.startswith(b"PK\x03\x04") and plain_suffix(str(path)) == ".zip":
        message = f"{path}: a ZIP archive: unpack it and give the file inside"
        raise harness.HarnessError(message)
    return data


def decode(path: Path, data: bytes, encoding: str | None) -> Decoded:
    """Return a file's text, by the encoding it is said to have, by its byte order mark, or as UTF-8.

    No other encoding is taken unasked: one that cannot fail would read anything.

    Raises:
        HarnessError: It is not in this encoding, reads as nonsense in it, or there is none of that name; says what it looks like.
    """
    if encoding is None:
        for mark, marked in _MARKS:
            if data.startswith(mark):
                notes = () if marked == "utf-8-sig" else (f"encoding {marked.upper()}",)
                return Decoded(_strictly(path, data, marked), notes)
        if data[:_SAMPLE_BYTES].count(0) > len(data[:_SAMPLE_BYTES]) // 4:
            # Letters of UTF-16 are letters and empty characters of UTF-8.
            message = f"{path}: not UTF-8: {_looks_like(data, _likely(data))}"
            raise harness.HarnessError(message)
        return Decoded(_strictly(path, data, "utf-8"), ())
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        message = (
            f"{path}: unknown encoding {encoding!r}: use a name that Python knows, such as utf-8, cp1252 or gb18030"
        )
        raise harness.HarnessError(message) from None
    text = _strictly(path, data, name).removeprefix("\ufeff")
    if name not in _MULTIBYTE and (likely := _contradicted(data, text, name)) and codecs.lookup(likely).name != name:
        message = f"{path}: does not look like {encoding}: {_looks_like(data, likely)}"
        raise harness.HarnessError(message)
    return Decoded(text, () if name == "utf-8" else (f"encoding {encoding}",))


def read_text(path: Path, encoding: str | None) -> Decoded:
    """Return what a file says, unpacked and decoded.

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
            f"{path}: not {encoding.removesuffix('-sig').upper()} (line {line}): {_looks_like(data, _likely(data))}"
        )
        raise harness.HarnessError(message) from None


def _contradicted(data: bytes, text: str, name: str) -> str | None:
    """Return the encoding a file seems to have instead of a single-byte one, which cannot fail; None if nothing speaks against it."""
    if text.isascii() or data.isascii() or name.startswith(("utf-16", "utf-32", "iso2022")):
        return None
    likely = _likely(data)
    if likely is None or likely in _WESTERN:
        # No text holds these control characters: they are what quotes and dashes of other encodings look like.
        controls = any("\x80" <= character <= "\x9f" and character != "\x85" for character in text)
        return likely if controls and likely != "iso8859-1" else None
    # Of alphabets one may be taken for another by chance, but not where the given one makes no words of any language at all.
    # So few bytes are valid in several by chance: there, the one that is named is believed.
    many = sum(byte > 127 for byte in data) >= _FEW_BYTES
    return likely if many and (likely in _MULTIBYTE or not _makes_words(data, name)) else None


def _likely(data: bytes) -> str | None:
    """Return the encoding that a file's lines beyond ASCII most look like; None if they look like none."""
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
    # What every Windows of western Europe and America writes; others that read these bytes as well do so by chance.
    return "cp1252" if "cp1252" in alike else codecs.lookup(found[0].encoding).name


def _makes_words(data: bytes, name: str) -> bool:
    """Return whether an encoding is among those that a file's lines may be in."""
    possible = {codecs.lookup(known).name for match in _matches(data) for known in match.could_be_from_charset}
    return name in possible or (name in _WESTERN and bool(possible & _WESTERN))


def _matches(data: bytes) -> Sequence[Any]:
    """Return the encodings that a file's lines beyond ASCII may be in, the likeliest first."""
    import charset_normalizer

    lines = [part for part in data[: 1 << 22].splitlines() if not part.isascii()][:_SAMPLE_LINES]
    return list(charset_normalizer.from_bytes(b"\n".join(lines) if lines else data))


def _looks_like(data: bytes, likely: str | None) -> str:
    """Return what a file's encoding looks like, how a line reads in it, and how to say so."""
    if likely is None:
        return "save it as UTF-8, or name its encoding with -o file.encoding=NAME"
    sample = ""
    for line in data.decode(likely, errors="replace").splitlines():
        at = next((place for place, character in enumerate(line) if not character.isascii()), None)
        if at is not None:
            sample = line[max(0, at - _SHOWN // 2) : at + _SHOWN // 2].strip()
            break
    shown = f", in which a line reads {sample!r}" if sample else ""
    if likely == "utf-8":
        return f"it looks like UTF-8{shown}: leave out file.encoding"
    return f"it looks like {likely}{shown}: if that is right, add -o file.encoding={likely}, or save the file as UTF-8"
