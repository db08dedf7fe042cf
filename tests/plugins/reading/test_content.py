import bz2
import gzip
import lzma

import pytest
import zstandard

from harness import HarnessError
from harness_plugins.datasets.file import File
from harness_plugins.reading.content import decode, plain_suffix, read_bytes

TABLE = "text,label\n“fine” – 5 €,good\nnaïve café,bad\n"


def refusal(path, data, encoding=None):
    with pytest.raises(HarnessError) as error:
        decode(path, data, encoding)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_a_packed_file_is_read_as_the_one_inside(tmp_path, suffix, pack):
    path = tmp_path / f"reviews.csv{suffix}"
    path.write_bytes(pack(TABLE.encode()))
    assert read_bytes(path).decode() == TABLE
    assert plain_suffix(str(path)) == ".csv"
    assert File(path=str(path)).read().splits["train"]["text"][:] == ["“fine” – 5 €", "naïve café"]


def test_a_damaged_packed_file_is_named(tmp_path):
    path = tmp_path / "reviews.csv.gz"
    path.write_bytes(gzip.compress(TABLE.encode())[:-9])
    with pytest.raises(HarnessError, match=r"reviews.csv.gz: cannot decompress as gzip"):
        read_bytes(path)


@pytest.mark.parametrize(
    ("encoding", "notes"),
    [("utf-8", ()), ("utf-8-sig", ()), ("utf-16", ("encoding UTF-16",)), ("utf-32", ("encoding UTF-32",))],
)
def test_a_byte_order_mark_tells_the_encoding_which_is_said(tmp_path, encoding, notes):
    found = decode(tmp_path / "a.csv", TABLE.encode(encoding), None)
    assert found == (TABLE, notes)


LEGACY = {
    "cp1252": TABLE,
    "cp1251": "text,label\nОтличный фильм и хорошие актёры,1\nОчень плохо и скучно,0\n" * 5,
    "koi8-r": "text,label\nОтличный фильм и хорошие актёры,1\nОчень плохо и скучно,0\n" * 5,
    "gb18030": "text,label\n非常好的电影，我很喜欢,1\n很差的商品，质量不好,0\n" * 5,
    "big5": "text,label\n非常好的電影，我很喜歡,1\n很差的商品，質量不好,0\n" * 5,
    "utf-16-le": "text,label\nfine,1\ndull,0\n",
}


@pytest.mark.parametrize("encoding", LEGACY)
def test_no_other_encoding_is_taken_unasked_and_the_one_that_is_named_reads_the_text(tmp_path, encoding):
    path, data = tmp_path / "a.csv", LEGACY[encoding].encode(encoding)
    message = refusal(path, data)
    named = message.partition("-o file.encoding=")[2].partition(",")[0]
    assert decode(path, data, named).text == data.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "gb18030", "big5"])
def test_an_encoding_that_cannot_fail_is_not_believed_where_the_text_contradicts_it(tmp_path, encoding):
    message = refusal(tmp_path / "a.csv", LEGACY[encoding].encode(encoding), "latin-1")
    assert f"does not look like latin-1; it looks like {encoding}" in message


def test_utf8_that_is_said_to_be_another_is_told(tmp_path):
    message = refusal(tmp_path / "a.csv", TABLE.encode(), "latin-1")
    assert message.endswith("remove file.encoding")


def test_latin1_without_contradiction_is_read(tmp_path):
    assert decode(tmp_path / "a.csv", "café noir".encode("latin-1"), "latin-1").text == "café noir"


def test_an_unknown_encoding_is_refused(tmp_path):
    assert "unknown encoding 'utf-ate'" in refusal(tmp_path / "a.csv", b"a", "utf-ate")
