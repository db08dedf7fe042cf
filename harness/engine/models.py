"""A run's model: one body shared by the heads of all problems.

Every head is a class of transformers, so that a tuned model loads with plain transformers. Each is loaded with its own
pretrained weights, then all receive the same body, so all heads share changes of the body. The head of a task is always
new, so that all strategies and seeds start alike, unless the published head is kept (head=keep).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.architecture import ATTENTION_DROPOUT, size
from harness.contracts import Facts, Model, Strategy, Task
from harness.delivery.write import Loaded
from harness.engine.compat import init_weights
from harness.errors import HarnessError, UndefinedError
from harness.records import TrainConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_SHOWN = 3
"""Maximum number of weights named in a message."""


class RunLoader:
    """Loads a base model with a run's settings and rejects incomplete weights."""

    def __init__(
        self,
        model: Model,
        train: TrainConfig,
        pad_token_id: int | None = None,
        strategy: Strategy | None = None,
        *,
        weightless: bool = False,
    ) -> None:
        """Store what to load and how.

        Args:
            model: The base model.
            train: Settings of the run.
            pad_token_id: The tokenizer's padding token.
            strategy: May change how the base is loaded.
            weightless: Load names and shapes only, to check that all weights exist.
        """
        self._strategy, self._weightless = strategy, weightless
        self._pad_token_id = pad_token_id
        self.config: PretrainedConfig = model.config()
        self._model = model
        names = [name for name in ATTENTION_DROPOUT if hasattr(self.config, name)]
        dropout = train.attention_dropout
        self._settings: dict[str, Any] = {} if dropout is None else dict.fromkeys(names, dropout)
        self.notes: list[str] = []
        """Notes for the reader of the results."""
        self.made: dict[int, list[str]] = {}
        """By a body's identity, the names of the parts missing in the published model."""
        self.loaded: dict[int, Loaded] = {}
        """By a model's identity, its loading arguments."""

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model with the head of `transformers.<auto_class>`.

        Raises:
            HarnessError: The architecture has no such head; weights of the body are missing, have another shape or are not finite; or
                the published head to keep is for other classes.
        """
        if auto_class == "AutoModel" and any(name.endswith("EncoderModel") for name in self.config.architectures or ()):
            auto_class = "AutoModelForTextEncoding"  # AutoModel would add an untrained decoder
        wanted = {} if self._strategy is None else self._strategy.loading(auto_class, self.config)
        if self._weightless:
            wanted = {"device_map": "meta"}
        # A published head of another size is replaced like any other; the body is checked below.
        reporting = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        asked = {**self._settings, **reporting, **wanted, **settings}
        renamed = None
        try:
            found: Any = self._model.load(auto_class, **asked)
            if isinstance(found, tuple) and (renamed := _renaming(found[0], found[1], self.config)):
                found = self._model.load(auto_class, **asked, key_mapping=renamed)
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            kind = auto_class.removeprefix("AutoModelFor")
            message = f"model {self._model.name!r}: transformers does not support {kind} for model type {self.config.model_type!r}"
            raise HarnessError(message) from None
        loaded, report = found if isinstance(found, tuple) else (found, {})
        if report:
            self._look(loaded, report, settings)
        if not self._weightless:
            _check_numbers(self._model.name, loaded)
        if self._pad_token_id is not None:
            # A decoder's classification head uses it to find each text's last token: it must be the tokenizer's padding token.
            loaded.config.pad_token_id = self._pad_token_id
        model: PreTrainedModel = loaded
        given = {**settings, "key_mapping": renamed} if renamed else settings
        self.loaded[id(model)] = Loaded(auto_class, given, renamed=bool(renamed))
        return model

    def _look(self, model: PreTrainedModel, report: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Check from the loading report that the body is complete and the head is as required."""
        missing = set(report["missing_keys"])
        mismatched = {name: shapes for name, *shapes in report["mismatched_keys"]}
        prefix = "" if model is model.base_model else f"{model.base_model_prefix}."
        in_body = {name for name in (*missing, *mismatched) if name.startswith(prefix)}
        made = _made_parts(model, {name.removeprefix(prefix) for name in in_body & missing}, self.config)
        lost = sorted(
            name for name in in_body if not name.removeprefix(prefix).startswith(tuple(f"{part}." for part in made))
        )
        where = f"model {self._model.name!r}"
        if lost:
            some = ", ".join(lost[:_SHOWN]) + (f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
            if lost[0] in mismatched:
                stored, expected = (tuple(shape) for shape in mismatched[lost[0]])
                message = f"{where}: weight shapes do not match config.json: {some} ({stored}, not {expected})"
            else:
                message = f"{where}: weights of the body are missing in its files: {some}"
            raise HarnessError(message)
        if beyond := _beyond(model, report["unexpected_keys"], prefix):
            message = f"{where}: its files have more layers than config.json states, such as {beyond}"
            raise HarnessError(message)
        self.made[id(model.base_model)] = made
        if made:
            self.notes.append(
                f"the published model has no {' or '.join(made)}; a new one is trained as part of the head"
            )
        if prefix and model.get_output_embeddings() is None:
            self._settle_head(model, prefix, missing, set(mismatched), settings)
        elif gone := sorted((missing | set(mismatched)) - in_body):
            message = (
                f"{where}: weights of the language-model head are missing in its files: {', '.join(gone[:_SHOWN])}"
            )
            raise HarnessError(message)

    def _settle_head(
        self, model: PreTrainedModel, prefix: str, missing: set[str], mismatched: set[str], settings: Mapping[str, Any]
    ) -> None:
        """Replace the published head by a new one, or check that it can be kept.

        A part of the head before the new layer, such as one from a published language-model head, is not changed.
        """
        names = {name for name, _ in model.named_parameters() if not name.startswith(prefix)}
        published = bool(names) and not names & missing
        classes = dict(getattr(self.config, "id2label", None) or {})
        told = ", ".join(str(classes[number]) for number in sorted(classes))
        if getattr(self._model, "head", "new") == "keep":
            if not published:
                message = f"model {self._model.name!r}: no published head for this task; remove head=keep"
                raise HarnessError(message)
            wanted = settings.get("id2label")
            if names & mismatched or (wanted is not None and not _agree(classes, wanted)):
                asked = ", ".join(map(str, (wanted or {}).values()))
                message = (
                    f"model {self._model.name!r}: the head's classes are {told}, the data's are {asked or 'different'}; to keep the head, "
                    "give the data the same classes in the same order (classes = [...]), or remove head=keep"
                )
                raise HarnessError(message)
            self.notes.append(f"the published head (classes {told}) is kept")
        elif published:
            if not self._weightless:
                _make_anew(model, [child for name, child in model.named_children() if name != model.base_model_prefix])
            about = f" ({len(classes)} classes: {told})" if len(classes) > 1 else ""
            self.notes.append(
                f"the published head{about} is not used; every run starts with a new head (head=keep keeps it)"
            )


@dataclass
class Heads:
    """The models of a run's problems, sharing one body."""

    body: PreTrainedModel
    models: list[PreTrainedModel | None]
    """The model of each problem; None if its task needs only the body or has no head to evaluate."""
    undefined: dict[int, str] = field(default_factory=dict)
    """By problem, the reason why this model has no head for it."""
    new_parts: list[str] = field(default_factory=list)
    """Names of body parts missing in the published model, such as a pooler; trained and delivered with every head."""
    loaded: list[Loaded | None] = field(default_factory=list)
    """How the model of each problem was loaded; None if it has none."""

    @property
    def made(self) -> list[nn.Module]:
        """The current modules of these parts; an adapter may have replaced them."""
        return [self.body.get_submodule(name) for name in self.new_parts]

    def head_of(self, model: PreTrainedModel) -> nn.ModuleList:
        """Return the new modules of a task's model: those outside the body, and the new parts inside it."""
        return nn.ModuleList([*outside(model), *self.made])


def build_heads(loader: RunLoader, tasks: Sequence[Task], facts: Sequence[Facts], device: torch.device) -> Heads:
    """Return a model for each task, sharing one body, on the device."""
    models: list[PreTrainedModel | None] = []
    undefined: dict[int, str] = {}
    for position, (task, fact) in enumerate(zip(tasks, facts, strict=True)):
        try:
            models.append(task.build(loader, fact))
        except UndefinedError as error:
            undefined[position] = str(error)
            models.append(None)
    with_head = [model for model in models if model is not None]
    # Use the largest body: one class may omit a part that another needs, such as a pooler.
    bodies = [model.base_model for model in with_head] or [loader("AutoModel")]
    body = max(bodies, key=size)
    for model in with_head:
        setattr(model, model.base_model_prefix, body)
        model.tie_weights()
    # Move to the device here, not under inference_mode: parameters created there could not be trained later.
    body.to(device)
    for model in with_head:
        model.to(device)
    loaded = [None if model is None else loader.loaded[id(model)] for model in models]
    return Heads(body, models, undefined, loader.made.get(id(body), []), loaded)


def outside(model: PreTrainedModel) -> nn.ModuleList:
    """Return the modules of a model outside its body."""
    return nn.ModuleList(child for name, child in model.named_children() if name != model.base_model_prefix)


def body_digest(body: nn.Module, without: Sequence[nn.Module] = ()) -> str:
    """Return a hash of the body's weights and their names; equal only if the hidden states are equal.

    Args:
        body: The body.
        without: Parts after its hidden states that are new for each seed.
    """
    total = hashlib.sha256()
    left_out = {id(tensor) for part in without for tensor in part.state_dict(keep_vars=True).values()}
    for name, tensor in body.state_dict(keep_vars=True).items():
        if id(tensor) not in left_out:
            hash_tensor(total, name, tensor)
    return total.hexdigest()


def hash_tensor(total: hashlib._Hash, name: str, tensor: torch.Tensor) -> None:
    """Add a tensor's name, type, shape and bytes to a hash."""
    data = tensor.detach().to("cpu").contiguous()
    total.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
    data_bytes: Any = data.flatten().view(torch.uint8).numpy()
    total.update(memoryview(data_bytes))


def _renaming(model: PreTrainedModel, report: Mapping[str, Any], config: PretrainedConfig) -> dict[str, str] | None:
    """Return the mapping from weight names in the files to this class's names, if the library does not find it.

    Classes of one model family may use different names for the body; then none of its weights is loaded.
    """
    import transformers

    ours = model.base_model_prefix
    published = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    theirs = getattr(published, "base_model_prefix", ours)
    body = {name for name, _ in model.named_parameters() if name.startswith(f"{ours}.")}
    lost = bool(body) and body <= set(report["missing_keys"])
    return {rf"^{re.escape(theirs)}\.": f"{ours}."} if lost and theirs != ours else None


def _made_parts(model: PreTrainedModel, missing: Collection[str], config: PretrainedConfig) -> list[str]:
    """Return the names of body parts that were not published because the published class lacks them.

    An example is a pooler that is missing completely. Weights that the published class has but the files lack are an error.
    """
    if not missing:
        return []
    body = model.base_model
    children = {name.partition(".")[0] for name in missing}
    whole = [
        child
        for child in sorted(children)
        if {name for name, _ in body.named_parameters() if name.startswith(f"{child}.")} <= set(missing)
    ]
    if not whole:
        return []
    published = _published_names(config)
    return [
        child
        for child in whole
        if "pooler" in child or (published is not None and not any(f".{child}." in f".{name}" for name in published))
    ]


def _published_names(config: PretrainedConfig) -> set[str] | None:
    """Return the weight names of the class the model was published with; None if it is unknown."""
    import copy

    import transformers

    cls = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    if cls is None:
        return None
    with torch.device("meta"):
        return set(cls(copy.deepcopy(config)).state_dict())


def _beyond(model: PreTrainedModel, unexpected: Collection[str], prefix: str) -> str | None:
    """Return a weight in the files that belongs to an additional block of the body; None if there is none."""
    known = {re.sub(r"\.\d+\.", ".#.", name.removeprefix(prefix)) for name, _ in model.named_parameters()}
    for name in sorted(unexpected):
        plain = name.removeprefix(prefix)
        if re.search(r"\.\d+\.", plain) and re.sub(r"\.\d+\.", ".#.", plain) in known:
            return name
    return None


def _agree(published: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> bool:
    """Return whether a head's classes equal the data's, in order; for unnamed classes only the count is compared."""
    ours, theirs = ([str(classes[number]) for number in sorted(classes)] for classes in (published, wanted))
    unnamed = all(name == f"LABEL_{number}" for number, name in enumerate(ours))
    return len(ours) == len(theirs) and (unnamed or ours == theirs)


def _make_anew(model: PreTrainedModel, parts: Sequence[nn.Module]) -> None:
    """Reinitialise modules as the library initialises new ones."""
    std = getattr(model.config, "initializer_range", None) or 0.02
    for module in (module for part in parts for module in part.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            # The library does not initialise loaded parameters, so create new ones.
            fresh = nn.Parameter(torch.empty_like(parameter))
            nn.init.zeros_(fresh) if parameter.ndim < 2 else nn.init.normal_(fresh, std=std)
            setattr(module, name, fresh)
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        init_weights(model, module)


def _check_numbers(name: str, model: nn.Module) -> None:
    """Check that every weight is finite.

    Raises:
        HarnessError: A weight is not; gives its name.
    """
    for weight, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            message = (
                f"model {name!r}: its weights contain nan or infinity, first in {weight}; download the files again"
            )
            raise HarnessError(message)
