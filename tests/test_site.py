"""The site is built of the documents without a warning: every link leads to a page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_shows_what_there_is(tmp_path, catalog):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]

    def page(name: str) -> str:
        return (tmp_path / "site" / name / "index.html").read_text(encoding="utf-8")

    assert "harness compare" in page("reference/commands")
    assert "train.epochs" in page("reference/settings")
    for offer in catalog.offers["strategy"]:
        assert f'id="{offer}"' in page("reference/components")
    for table in (ROOT / "results" / "tables").glob("*.md"):
        assert page(f"gallery/{table.stem}")
    assert page("guide/your-own-data")
