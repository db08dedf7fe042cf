"""Hooks of mkdocs: the pages of the site, made of the repository's documents and of the code, so that there is one source.

README.md gives the start page and, by its headings, the guide; plugins/README.md, experiments/README.md, results/README.md
(with the published tables as a gallery), CONTRIBUTING.md and CHANGELOG.md give a page each; commands, settings and
components are asked of the code.
"""

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from harness.catalog import PLURALS, load_catalog
from harness.records import TrainConfig

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: Any, **_: Any) -> Any:
    """List the published tables in the navigation."""
    for entry in config.nav:
        if "Gallery" in entry:
            tables = sorted(path.name for path in (ROOT / "results" / "tables").glob("*.md"))
            entry["Gallery"] = ["gallery/index.md", *({Path(name).stem: f"gallery/{name}"} for name in tables)]
    return config


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages that are made."""
    pages = dict(_documents())
    places = {source: page for page, (source, _) in pages.items() if source}
    for page, (source, text) in pages.items():
        files.append(File.generated(config, page, content=_linked(text, source, page, places)))
    for path in sorted((ROOT / "results" / "tables").glob("*.svg")):
        files.append(File.generated(config, f"gallery/{path.name}", content=path.read_bytes()))
    return files


def _documents() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each page's path with the document it is of and its text; the document is empty for a part or for code."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, *sections = re.split(r"^## ", readme, flags=re.MULTILINE)
    yield "index.md", ("README.md", start)
    for section in sections:
        title, _, body = section.partition("\n")
        if title not in {"Commands", "Plugins and contributions"}:  # generated, or pages of their own
            slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
            yield f"guide/{slug}.md", (f"README.md#{slug}", f"# {title}\n{body}")
    whole = {
        "plugins.md": "plugins/README.md", "experiments.md": "experiments/README.md", "gallery/index.md": "results/README.md",
        "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md",
    }  # fmt: skip
    whole |= {
        f"gallery/{path.name}": f"results/tables/{path.name}" for path in sorted((ROOT / "results/tables").glob("*.md"))
    }
    for page, source in whole.items():
        yield page, (source, (ROOT / source).read_text(encoding="utf-8"))
    yield "reference/commands.md", ("", _commands())
    yield "reference/settings.md", ("", _settings())
    yield "reference/components.md", ("", _components())


def _linked(text: str, source: str, page: str, places: Mapping[str, str]) -> str:
    """Return a document's text with its links to other documents as links to their pages; other links become names."""
    folder = posixpath.dirname(source.partition("#")[0])

    def linked(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        if "://" in target or not source:
            return match.group(0)
        place = posixpath.normpath(posixpath.join(folder, target))
        for known in (place, f"{place}/README.md"):
            if known in places:
                return posixpath.relpath(places[known], posixpath.dirname(page) or ".") + anchor
        if place.startswith("docs/") and place.endswith(".md"):
            return posixpath.relpath(place.removeprefix("docs/"), posixpath.dirname(page) or ".") + anchor
        if place.startswith("results/tables/"):
            return posixpath.relpath(f"gallery/{posixpath.basename(place)}", posixpath.dirname(page) or ".")
        return f"\0{target}"  # not on the site

    text = _LINK.sub(linked, text)
    return re.sub(r"\[([^\]]*)\]\(\0[^)]*\)", r"\1", text)


def _commands() -> str:
    """Return the help of every command, as typer writes it."""
    command = [
        sys.executable,
        "-m",
        "typer",
        "harness.cli.app",
        "utils",
        "docs",
        "--name",
        "harness",
        "--title",
        "Commands",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command


def _settings() -> str:
    """Return the training settings."""
    rows = [
        f"| `train.{name}` | {_cell(str(info.default))} | {_cell(info.description or '')} |"
        for name, info in TrainConfig.model_fields.items()
    ]
    return "\n".join(["# Training settings", "", "| setting | default | meaning |", "|---|---|---|", *rows, ""])


def _components() -> str:
    """Return the installed components with their parameters."""
    catalog = load_catalog()
    parts = [
        "# Components",
        "The built-in components; `harness list` and `harness describe KIND NAME` show those of plugins too.",
    ]
    for kind, plural in PLURALS.items():
        parts.append(f"## {plural.capitalize()}")
        for name, offer in sorted(catalog.offers[kind].items()):
            cls = offer.component
            parts.append(f"### {name}\n\n{' '.join((cls.__doc__ or '').split())}")
            rows = [
                f"| `{field}` | {_cell('required' if info.is_required() else str(info.get_default(call_default_factory=True)))} | {_cell(info.description or '')} |"
                for field, info in cls.model_fields.items()
            ]
            if rows:
                parts.append("\n".join(["| parameter | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
