"""A user's file as text."""

from pathlib import Path

import harness


def read_text(path: Path, encoding: str) -> str:
    """Return what a file says, without a byte order mark.

    Raises:
        HarnessError: It is not in this encoding, or there is none of that name; says where, and how to mend it.
    """
    data = path.read_bytes()
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"{path}: not {encoding.upper()} (line {line}): save it as UTF-8, or name its encoding with "
            "-o file.encoding=latin-1"
        )
    except LookupError:
        message = f"{path}: there is no encoding {encoding!r}: name one that Python knows, such as latin-1"
    raise harness.HarnessError(message)
