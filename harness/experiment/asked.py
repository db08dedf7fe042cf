"""The request of a command or a Python call, with the same names, defaults and errors for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.catalog import Catalog
from harness.contracts import Dataset, Strategy
from harness.errors import HarnessError
from harness.experiment.comparisons import find_experiment
from harness.experiment.plan import Plan, default_names, make_plan, opener
from harness.experiment.spec import (
    ExperimentSpec,
    StrategyEntry,
    entries_of,
    is_experiment,
    make_spec,
    read_spec,
    with_folds,
    with_limits,
    with_overrides,
)
from harness.records import digest


@dataclass(frozen=True)
class Asked:
    """The request of a command or a call: an experiment file or data, and options."""

    target: str | None = None
    datasets: Sequence[str] | None = None
    model: str | None = None
    strategies: Sequence[str | Mapping[str, Any]] | None = None
    watch: Sequence[str] | None = None
    seeds: str | Sequence[int] | None = None
    limit: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    reference: str | None = None
    text: str | None = None
    label: str | None = None
    options: Sequence[str] | None = None
    tune: str | int | None = None
    repeat: int | None = None
    margin: float | None = None
    folds: int | None = None
    looks: str | Sequence[int] | None = None
    name: str | None = None

    def named_in(self, results: Path) -> Asked:
        """Return the request with the name of a kept comparison replaced by its experiment file."""
        if self.target is None or Path(self.target).exists():
            return self
        found = find_experiment(results, self.target)
        return self if found is None else replace(self, target=str(found))

    def plan(self, catalog: Catalog) -> Plan:
        """Return the plan for the request.

        Raises:
            HarnessError: The options contradict each other or name something unknown.
        """
        filed = self._filed()
        return make_plan(self.spec(catalog), catalog, named=bool(self.strategies or (filed and filed.strategies)))

    def spec(self, catalog: Catalog) -> ExperimentSpec:
        """Return the experiment: that of the file, if there is one, with the options applied."""
        given = self._given(catalog)
        filed = self._filed()
        if filed is not None:
            if self.text or self.label:
                message = "--text and --label need a data file, not an experiment file"
                raise HarnessError(message)
            spec = make_spec({**filed.model_dump(exclude_unset=True), **given}, "options") if given else filed
            base = filed
        else:
            spec = base = make_spec({"name": self._name(), **self._defaults(catalog), **given}, "options")
        if self.options and not spec.strategies:
            # Listed explicitly, so that an option can refer to one of them.
            named = tuple(StrategyEntry(name=name) for name in default_names(catalog, Strategy))
            spec = spec.model_copy(update={"strategies": named})
        if self.folds is not None:
            spec = with_folds(spec, self.folds, seeds=self.seeds is None)
        spec = with_overrides(with_limits(spec, self.limit or ()), self.options or ())
        if self.name is not None:
            return spec.model_copy(update={"name": self.name})
        if spec == base and filed is not None:
            return spec
        # A different experiment must not overwrite the file's own table, nor one data file's table that of another.
        return spec.model_copy(update={"name": f"{spec.name}-{digest(spec.model_dump(mode='json'))[:6]}"})

    def _filed(self) -> ExperimentSpec | None:
        """Return the experiment of the experiment file, if one is given."""
        if self.target is None or not is_experiment(Path(self.target)):
            return None
        return read_spec(Path(self.target))

    def _given(self, catalog: Catalog) -> dict[str, Any]:
        given = {
            "stages": [_named(catalog, name) for name in _split(self.datasets or ())],
            "model": self.model,
            "strategies": _entries(self.strategies or ()),
            "seeds": None if self.seeds is None else _numbers(self.seeds, "--seeds"),
            "looks": None if self.looks is None else _numbers(self.looks, "--looks"),
            "metrics": _split(self.metrics or ()),
            "reference": self.reference,
            "tune": self.tune,
            "repeat": self.repeat,
            "margin": self.margin,
        }
        given = {key: value for key, value in given.items() if value is not None and value != []}
        if self.watch:
            given["watch"] = [name for name in _split(self.watch) if name != "none"]
        return given

    def _defaults(self, catalog: Catalog) -> dict[str, Any]:
        """Return the defaults of a comparison without an experiment file."""
        if self.target is not None and self.datasets:
            message = f"both a data file ({self.target!r}) and --dataset are given: use only one"
            raise HarnessError(message)
        if self.target is None and not self.datasets:
            message = "no data to compare on: give an experiment file, a data file or --dataset"
            raise HarnessError(message)
        tuned_on = {name.partition(":")[0] for name in _split(self.datasets or ())}
        watch = [name for name in default_names(catalog, Dataset, "default_watch") if name not in tuned_on]
        defaults: dict[str, Any] = {"watch": watch}
        if self.target is not None:
            columns = {"text": self.text, "label": self.label}
            defaults["stages"] = [
                {
                    "dataset": f"{self._opener(catalog)}:{self.target}",
                    "draws": "seeds",
                    **{key: value for key, value in columns.items() if value is not None},
                }
            ]
        elif self.text or self.label:
            message = "--text and --label need a data file: give its path as the first argument"
            raise HarnessError(message)
        return defaults

    def _opener(self, catalog: Catalog) -> str:
        """Return the name of the dataset that opens the data file."""
        found = opener(catalog, Dataset, str(self.target))
        if found is None:
            suffixes = {suffix for cls in catalog.every(Dataset) for suffix in cls.suffixes if suffix.startswith(".")}
            message = (
                f"{self.target!r} is neither an experiment file (.toml, .yaml, .json) nor a data file "
                f"({', '.join(sorted(suffixes))}) nor the name of a comparison (harness ls)"
            )
            raise HarnessError(message)
        return found.name

    def _name(self) -> str:
        if self.target is not None:
            return Path(self.target).stem
        return "-".join(name.partition(":")[0] for name in _split(self.datasets or ())) or "comparison"


def _named(catalog: Catalog, dataset: str) -> str:
    """Return a dataset's name; a path is prefixed with the dataset that opens it, so that options can use it."""
    found = opener(catalog, Dataset, dataset)
    return dataset if found is None else f"{found.name}:{dataset}"


def _split(values: Sequence[str]) -> list[str]:
    """Return names given separately or separated by commas."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _entries(values: Sequence[str | Mapping[str, Any]]) -> list[str | Mapping[str, Any]]:
    """Return strategies, each a name or a table."""
    return [entry for value in values for entry in (entries_of(value) if isinstance(value, str) else [value])]


def _numbers(text: str | Sequence[int], option: str) -> list[int]:
    if not isinstance(text, str):
        return list(text)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        message = f"{option} {text!r} is not a list of whole numbers, such as 0,1,2"
        raise HarnessError(message) from None
