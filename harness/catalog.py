"""The components of the installed plugins, by kind and name.

A plugin that fails to load is recorded with the cause in `PluginState.problem`; a command fails only if it needs a
component that is missing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from harness import hookspecs
from harness.contracts import Component, Dataset, Executor, Metric, Model, Reporter, Strategy, Task, Tracker
from harness.errors import HarnessError, unknown
from harness.records import ComponentRef, formers

KINDS: Mapping[str, type[Component]] = MappingProxyType(
    {
        "model": Model,
        "dataset": Dataset,
        "task": Task,
        "strategy": Strategy,
        "metric": Metric,
        "reporter": Reporter,
        "executor": Executor,
        "tracker": Tracker,
    }
)
PLURALS: Mapping[str, str] = MappingProxyType(
    {kind: f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s" for kind in KINDS}
)

_ALTERNATIVE = re.compile(r"constrained-\w+|literal\[.*\]")
"""How pydantic names one of several kinds that a setting may be of."""
BY_HAND = "registered by hand"
"""Distribution of plugins that no entry point names."""

C = TypeVar("C", bound=Component)


@dataclass(frozen=True)
class PluginState:
    """One entry point and whether it loaded."""

    name: str
    distribution: str
    problem: str | None = None


@dataclass(frozen=True)
class Offer:
    """A component class and its origin."""

    component: type[Component]
    plugin: str
    distribution: str


@dataclass
class Catalog:
    """The components of the plugins that loaded."""

    plugins: pluggy.PluginManager
    states: list[PluginState] = field(default_factory=list)
    offers: dict[str, dict[str, Offer]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    without: frozenset[str] = frozenset()

    def find(self, kind: type[C], name: str) -> type[C]:
        """Return the class of a kind and name.

        Raises:
            HarnessError: No plugin offers it; the message has the closest match, and any plugin that failed to load.
        """
        label = kind_of(kind)
        offer = self.offers[label].get(name)
        if offer is None:
            error = unknown(label, name, self.offers[label])
            broken = [f"{state.name} ({state.problem})" for state in self.states if state.problem]
            raise HarnessError(f"{error}; plugins that did not load: {'; '.join(broken)}") if broken else error
        found = offer.component
        assert issubclass(found, kind)
        return found

    def every(self, kind: type[C]) -> list[type[C]]:
        """Return all classes of a kind, by name."""
        return [self.find(kind, name) for name in sorted(self.offers[kind_of(kind)])]

    def by_hand(self, kind: type[Component]) -> list[str]:
        """Return the names of the components of a kind that come from plugins registered by hand."""
        return [name for name, offer in self.offers[kind_of(kind)].items() if offer.distribution == BY_HAND]

    def make(self, kind: type[C], name: str, params: Mapping[str, Any], where: str = "") -> C:
        """Return the component with validated parameters.

        Raises:
            HarnessError: A parameter is unknown or has the wrong type; the message says which, and what is valid.
        """
        cls = self.find(kind, name)
        try:
            return cls(**params)
        except ValidationError as error:
            raise HarnessError(explain(error, cls, f"{where}{kind_of(kind)} {name!r}")) from None

    def restore(self, kind: type[C], reference: ComponentRef, **changed: Any) -> C:
        """Return the component of a stored reference; settings it lacks do what was done before there were any.

        Args:
            kind: Its kind.
            reference: The stored reference.
            changed: Settings that are changed.
        """
        known = formers(self.find(kind, reference.name))
        return self.make(kind, reference.name, {**known, **reference.params, **reference.location, **changed})

    def offer(self, component: Component) -> Offer:
        """Return the origin of a component."""
        kind = next(label for label, base in KINDS.items() if isinstance(component, base))
        return self.offers[kind][component.name]


@functools.cache
def kind_of(cls: type[Component]) -> str:
    """Return the name of a component class's kind."""
    return next(label for label, base in KINDS.items() if issubclass(cls, base))


def load_catalog(without: Iterable[str] = ()) -> Catalog:
    """Return the catalog of the installed plugins, except those in `without`.

    Raises:
        HarnessError: Two plugins offer the same name, or a name in `without` is not a plugin.
    """
    entry_points = sorted(importlib.metadata.entry_points(group="harness"), key=lambda point: point.name)
    left_out = set(without)
    if unheard := left_out - {point.name for point in entry_points}:
        raise unknown("plugin", min(unheard), {point.name for point in entry_points})
    catalog = Catalog(new_plugin_manager(), without=frozenset(left_out))
    for point in entry_points:
        if point.name not in left_out:
            _register(catalog, point)
    collect(catalog)
    return catalog


def with_plugin(catalog: Catalog, plugin: object, name: str) -> Catalog:
    """Return a catalog with one more plugin: any object whose methods are hook implementations.

    Raises:
        HarnessError: The plugin offers a name that is already taken.
    """
    extended = Catalog(new_plugin_manager(), states=list(catalog.states), without=catalog.without)
    for known, module in catalog.plugins.list_name_plugin():
        extended.plugins.register(module, known)
    extended.plugins.register(plugin, name)
    extended.states.append(PluginState(name, BY_HAND))
    collect(extended)
    return extended


def new_plugin_manager() -> pluggy.PluginManager:
    """Return a plugin manager with the hooks and no plugins."""
    manager = pluggy.PluginManager("harness")
    manager.add_hookspecs(hookspecs)
    return manager


def collect(catalog: Catalog) -> None:
    """Add the components of every registered plugin to the catalog.

    Raises:
        HarnessError: Two plugins offer the same name.
    """
    distributions = {state.name: state.distribution for state in catalog.states}
    for kind, base in KINDS.items():
        for implementation in getattr(catalog.plugins.hook, f"harness_{PLURALS[kind]}").get_hookimpls():
            plugin = implementation.plugin_name
            distribution = distributions.get(plugin, plugin)
            try:
                components = list(implementation.function())
                for cls in components:
                    _check_component(cls, base)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way; it is reported by name
                _blame(catalog, plugin, distribution, error)
                continue
            for cls in components:
                other = catalog.offers[kind].get(cls.name)
                if other is not None:
                    message = (
                        f"two plugins offer a {kind} named {cls.name!r}: {other.plugin} (of {other.distribution}) and "
                        f"{plugin} (of {distribution}): leave one out with --without {plugin}"
                    )
                    raise HarnessError(message)
                catalog.offers[kind][cls.name] = Offer(cls, plugin, distribution)


def explain(error: ValidationError, cls: type[Any], where: str) -> str:
    """Return a validation error as one line: the field, what is wrong, and what is valid."""
    first, *others = error.errors()
    path = ".".join(str(part) for part in first["loc"] if not _ALTERNATIVE.fullmatch(str(part)))
    if first["type"] == "extra_forbidden":
        return f"{where}: {unknown('setting', path, cls.model_fields)}"
    if first["type"] == "missing":
        return f"{where}: the setting {path!r} is required: {cls.model_fields[path].description or 'see describe'}"
    # A component's own message starts in lower case; pydantic's messages start with a capital.
    own = first["msg"].removeprefix("Value error, ")
    message = own if own != first["msg"] else own[0].lower() + own[1:]
    # A setting that may be of several kinds has an error for each.
    same = [other["msg"] for other in others if len(first["loc"]) > 1 and other["loc"][:-1] == first["loc"][:-1]]
    message = " or ".join([message, *(text.replace("Input should be ", "") for text in same)])
    return f"{where}: {path}: {message}, but got {first['input']!r}" if path else f"{where}: {message}"


def _register(catalog: Catalog, point: importlib.metadata.EntryPoint) -> None:
    distribution = _describe(point.dist) if point.dist else "unknown distribution"
    if catalog.plugins.has_plugin(point.name):
        other = next(state.distribution for state in catalog.states if state.name == point.name)
        message = (
            f"two distributions have a plugin named {point.name!r}: {other} and {distribution}; uninstall one of them"
        )
        raise HarnessError(message)
    try:
        plugin = point.load()
        catalog.plugins.register(plugin, name=point.name)
        # Checked per plugin, so that a misspelt hook is reported for the right plugin.
        catalog.plugins.check_pending()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way; it is reported by name
        _blame(catalog, point.name, distribution, error)
    else:
        catalog.states.append(PluginState(point.name, distribution))


@functools.cache  # every access to the metadata parses its file
def _describe(distribution: importlib.metadata.Distribution) -> str:
    """Return the name and version of a distribution."""
    metadata = distribution.metadata
    return f"{metadata['Name']} {metadata['Version']}"


def _blame(catalog: Catalog, plugin: str, distribution: str, error: BaseException) -> None:
    if catalog.plugins.has_plugin(plugin):
        catalog.plugins.unregister(name=plugin)
    catalog.states[:] = [state for state in catalog.states if state.name != plugin]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    catalog.states.append(PluginState(plugin, distribution, reason))


def _check_component(cls: object, base: type[Component]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, base)):
        message = f"{cls!r} is not a subclass of harness.{base.__name__}"
        raise TypeError(message)
    if getattr(cls, "role", None) == "floor":
        message = f"{cls.__name__}: the role 'floor' is now called 'baseline'"
        raise TypeError(message)
    if not getattr(cls, "name", None):
        message = f"{cls.__name__} has no name"
        raise TypeError(message)
    if any(bad in cls.name for bad in "/\\:. \t\n"):
        message = f"the name {cls.name!r} of {cls.__name__} must not contain a space or any of / \\ : ."
        raise ValueError(message)
