"""Tables for papers."""

import re

import harness

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "→": r"$\to$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "≤": r"$\leq$", "≥": r"$\geq$", "<=": r"$\leq$",
}  # fmt: skip
_LETTERS = 26
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(?![\w.])")
_VERDICTS = {"better": r"$^{+}$", "worse": r"$^{-}$", "equivalent": r"$^{=}$"}


class LaTeX(harness.Reporter):
    r"""LaTeX table for papers, with booktabs; intervals below the values, verdicts as marks, notes below.

    Numbers are arguments of siunitx's `\num`, which formats them as the document says if it loads that package.
    """

    name = "latex"
    suffix = ".tex"
    brief = True

    def render(self, table: harness.Table) -> str:
        """Return the tables; the comment at the top names the package they need."""
        parts = "\n\n".join(_float(part) for part in (table, *table.others))
        return (
            "% needs: \\usepackage{booktabs}; with \\usepackage{siunitx}, \\sisetup formats the numbers\n"
            f"\\providecommand{{\\num}}[2][]{{#2}}\n{parts}\n"
        )


def _float(table: harness.Table) -> str:
    spans = _groups(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_escaped(table.question or table.title)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{count}}}{{c}}{{{_escaped(name)}}}" for name, count, _ in spans)]) + r" \\",
        "".join(rf"\cmidrule(lr){{{first}-{first + count - 1}}}" for _, count, first in spans),
        " & ".join(["strategy", *(_heading(column) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        role = "" if row.role == "contender" else f" ({row.role})"
        lines.append(" & ".join([_escaped(f"{row.label}{role}"), *(_value(cell) for cell in row.cells)]) + r" \\")
        if any(_interval(cell) for cell in row.cells):
            lines.append(" & ".join(["", *(_interval(cell) for cell in row.cells)]) + r" \\[2pt]")
    notes = []
    if any(cell.verdict in _VERDICTS for row in table.rows for cell in row.cells):
        notes.append(r"$^{+}$/$^{-}$/$^{=}$: shown to be better than, worse than or equivalent to the reference.")
    notes += [rf"$^{{{_mark(number)}}}$ {_escaped(note)}" for number, note in enumerate(table.footnotes, 1)]
    notes += [_escaped(line) for line in table.essentials or table.about]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize"]
    lines += [rf"{note}\par" for note in notes]
    lines += ["}", r"\end{table}"]
    return "\n".join(line for line in lines if line)


def _groups(table: harness.Table) -> list[tuple[str, int, int]]:
    """Return the groups of neighbouring columns, each with its number of columns and the number of its first."""
    found: list[tuple[str, int, int]] = []
    for place, column in enumerate(table.columns, 2):
        if found and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1, found[-1][2])
        else:
            found.append((column.group, 1, place))
    return found


def _heading(column: harness.Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    return _escaped(f"{column.title}{f' [{column.unit}]' if column.unit else ''}{arrow}")


def _value(cell: harness.Cell) -> str:
    value = _parted(cell.text)[0]
    text = _escaped(value)
    if number := _NUMBER.match(value):
        options = "[mode=match,reset-text-series=false]" if cell.best else ""  # else it would not be bold
        text = rf"\num{options}{{{number[0]}}}{_escaped(value[number.end() :])}"
    bold = rf"\textbf{{{text}}}" if cell.best and text else text
    note = "" if cell.note is None else rf"$^{{{_mark(cell.note)}}}$"
    return bold + _VERDICTS.get(cell.verdict or "", "") + note


def _mark(number: int) -> str:
    """Return the mark of a note: a letter, as a number would be read as an exponent."""
    return chr(ord("a") + number - 1) if number <= _LETTERS else f"({number})"


def _interval(cell: harness.Cell) -> str:
    text = _parted(cell.text)[1]
    return rf"{{\scriptsize {_escaped(text)}}}" if text else ""


def _parted(text: str) -> tuple[str, str]:
    """Return a value and its interval, which may be empty."""
    for sign in (" [", " ±"):
        value, found, interval = text.partition(sign)
        if found:
            return value, f"{found.strip()}{interval}" if sign == " [" else f"± {interval.strip()}"
    return text, ""


def _escaped(text: str) -> str:
    """Return a text with LaTeX's special signs escaped; symbols of control characters, which fonts lack, are `?`."""
    plain = "".join("?" if "\N{SYMBOL FOR NULL}" <= sign <= "\N{SYMBOL FOR DELETE}" else sign for sign in text)
    # Brackets at the beginning would be read as an option of the line before.
    return "".join(_SPECIAL.get(sign, f"{{{sign}}}" if sign in "[]" else sign) for sign in plain)


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [LaTeX]
