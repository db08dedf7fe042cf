"""A run's model: one body, shared by the heads of all its problems.

Every head is the library's own class, so that a tuned model loads with plain transformers. Each is loaded with its own
pretrained weights, then all are given the same body; what tuning does to the body, every head sees. A head for a task is
always made anew, so that all strategies and seeds start alike, unless the model is asked to keep its own.
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
"""Weights that a message names."""


class RunLoader:
    """Loads a base model with a run's settings, whole or not at all."""

    def __init__(
        self,
        model: Model,
        train: TrainConfig,
        pad_token_id: int | None = None,
        strategy: Strategy | None = None,
        *,
        weightless: bool = False,
    ) -> None:
        """Remember what to load, how, and for what.

        Args:
            model: The base model.
            train: Settings of the run.
            pad_token_id: What the tokenizer pads with.
            strategy: What may want a base of another kind.
            weightless: Load the names and shapes alone, to see whether all would be there.
        """
        self._strategy, self._weightless = strategy, weightless
        self._pad_token_id = pad_token_id
        self.config: PretrainedConfig = model.config()
        self._model = model
        names = [name for name in ATTENTION_DROPOUT if hasattr(self.config, name)]
        dropout = train.attention_dropout
        self._settings: dict[str, Any] = {} if dropout is None else dict.fromkeys(names, dropout)
        self.notes: list[str] = []
        """What was done that a reader must know."""
        self.made: dict[int, list[str]] = {}
        """By a body's identity, the names of its parts that the model was published without."""
        self.loaded: dict[int, Loaded] = {}
        """By a model's identity, how it was loaded."""

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model under the head of `transformers.<auto_class>`.

        Raises:
            HarnessError: The architecture has no such head, weights of the body are missing, of another shape or not numbers, or the
                published head, which is to be kept, is for other classes.
        """
        if auto_class == "AutoModel" and any(name.endswith("EncoderModel") for name in self.config.architectures or ()):
            auto_class = "AutoModelForTextEncoding"  # the other one would make up a decoder
        wanted = {} if self._strategy is None else self._strategy.loading(auto_class, self.config)
        if self._weightless:
            wanted = {"device_map": "meta"}
        # A published head of another size is made anew like any other; that the body is whole is looked at below.
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
            message = (
                f"model {self._model.name!r}: transformers has no {kind} for models of type {self.config.model_type!r}"
            )
            raise HarnessError(message) from None
        loaded, report = found if isinstance(found, tuple) else (found, {})
        if report:
            self._look(loaded, report, settings)
        if not self._weightless:
            _check_numbers(self._model.name, loaded)
        if self._pad_token_id is not None:
            # A decoder's classification head looks for it to find each text's last token: it must be what texts are padded by.
            loaded.config.pad_token_id = self._pad_token_id
        model: PreTrainedModel = loaded
        given = {**settings, "key_mapping": renamed} if renamed else settings
        self.loaded[id(model)] = Loaded(auto_class, given, renamed=bool(renamed))
        return model

    def _look(self, model: PreTrainedModel, report: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """See that the body is whole and the head as it should be, by what loading reports."""
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
                message = (
                    f"{where}: weights of another shape than its config.json says: {some} ({stored}, not {expected})"
                )
            else:
                message = f"{where}: weights of the body are missing from its files: {some}"
            raise HarnessError(message)
        if beyond := _beyond(model, report["unexpected_keys"], prefix):
            message = f"{where}: its files have weights of more layers than its config.json says, such as {beyond}"
            raise HarnessError(message)
        self.made[id(model.base_model)] = made
        if made:
            self.notes.append(
                f"the model was published without its {' and '.join(made)}: made anew, and trained as part of the head"
            )
        if prefix and model.get_output_embeddings() is None:
            self._settle_head(model, prefix, missing, set(mismatched), settings)
        elif gone := sorted((missing | set(mismatched)) - in_body):
            message = (
                f"{where}: weights of its language-model head are missing from its files: {', '.join(gone[:_SHOWN])}"
            )
            raise HarnessError(message)

    def _settle_head(
        self, model: PreTrainedModel, prefix: str, missing: set[str], mismatched: set[str], settings: Mapping[str, Any]
    ) -> None:
        """Make a head anew that the model was published with, or make sure that it may be kept.

        A part of a head that comes before the new layer, as that of a published language-model head may, stays as it is.
        """
        names = {name for name, _ in model.named_parameters() if not name.startswith(prefix)}
        published = bool(names) and not names & missing
        classes = dict(getattr(self.config, "id2label", None) or {})
        told = ", ".join(str(classes[number]) for number in sorted(classes))
        if getattr(self._model, "head", "new") == "keep":
            if not published:
                message = f"model {self._model.name!r}: it has no head to keep for this task: leave out head=keep"
                raise HarnessError(message)
            wanted = settings.get("id2label")
            if names & mismatched or (wanted is not None and not _agree(classes, wanted)):
                asked = ", ".join(map(str, (wanted or {}).values()))
                message = (
                    f"model {self._model.name!r}: its head is for the classes {told}, and the data has {asked or 'others'}: to keep "
                    "it, give the data the same classes in the same order (classes = [...]); else leave out head=keep"
                )
                raise HarnessError(message)
            self.notes.append(f"the published head (classes {told}) is kept")
        elif published:
            if not self._weightless:
                _make_anew(model, [child for name, child in model.named_children() if name != model.base_model_prefix])
            about = f" ({len(classes)} classes: {told})" if len(classes) > 1 else ""
            self.notes.append(
                f"the published head{about} is not used: every run begins with a new one (keep it with head=keep)"
            )


@dataclass
class Heads:
    """The models of a run's problems, over one body."""

    body: PreTrainedModel
    models: list[PreTrainedModel | None]
    """For each problem its model; None where its task needs only the body, or has no head to measure."""
    undefined: dict[int, str] = field(default_factory=dict)
    """For a problem whose head this model does not have, why."""
    new_parts: list[str] = field(default_factory=list)
    """Names of the body's parts that the model was published without, such as a pooler: trained and delivered with every head."""
    loaded: list[Loaded | None] = field(default_factory=list)
    """For each problem how its model was loaded; None where it has none."""

    @property
    def made(self) -> list[nn.Module]:
        """Those parts as they are now: an adapter may have put others in their place."""
        return [self.body.get_submodule(name) for name in self.new_parts]

    def head_of(self, model: PreTrainedModel) -> nn.ModuleList:
        """Return what is new of a model, for a task: the modules outside the body, and those made anew inside."""
        return nn.ModuleList([*outside(model), *self.made])


def build_heads(loader: RunLoader, tasks: Sequence[Task], facts: Sequence[Facts], device: torch.device) -> Heads:
    """Return a model for each task, all sharing one body, on the device."""
    models: list[PreTrainedModel | None] = []
    undefined: dict[int, str] = {}
    for position, (task, fact) in enumerate(zip(tasks, facts, strict=True)):
        try:
            models.append(task.build(loader, fact))
        except UndefinedError as error:
            undefined[position] = str(error)
            models.append(None)
    with_head = [model for model in models if model is not None]
    # The largest, because one class may leave out a part of the body that another needs, such as a pooler.
    bodies = [model.base_model for model in with_head] or [loader("AutoModel")]
    body = max(bodies, key=size)
    for model in with_head:
        setattr(model, model.base_model_prefix, body)
        model.tie_weights()
    # Moved once, here, and never under inference_mode: parameters first placed there could not be trained later.
    body.to(device)
    for model in with_head:
        model.to(device)
    loaded = [None if model is None else loader.loaded[id(model)] for model in models]
    return Heads(body, models, undefined, loader.made.get(id(body), []), loaded)


def outside(model: PreTrainedModel) -> nn.ModuleList:
    """Return the modules of a model outside its body."""
    return nn.ModuleList(child for name, child in model.named_children() if name != model.base_model_prefix)


def body_digest(body: nn.Module, without: Sequence[nn.Module] = ()) -> str:
    """Return a hash of the body's weights and of their names: equal only where the body computes the same hidden states.

    Args:
        body: The body.
        without: Parts of it that come after its hidden states, and were made anew for each seed.
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
    """Return how the files' names of the body become this class's, where the library does not see that they are the same.

    Its classes of one family may call the body otherwise, and then nothing of it is loaded.
    """
    import transformers

    ours = model.base_model_prefix
    published = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    theirs = getattr(published, "base_model_prefix", ours)
    body = {name for name, _ in model.named_parameters() if name.startswith(f"{ours}.")}
    lost = bool(body) and body <= set(report["missing_keys"])
    return {rf"^{re.escape(theirs)}\.": f"{ours}."} if lost and theirs != ours else None


def _made_parts(model: PreTrainedModel, missing: Collection[str], config: PretrainedConfig) -> list[str]:
    """Return the names of the body's parts of which nothing was published because the published class does not have them.

    Such a part is a pooler, of which the whole is missing; what the published class has and the files lack is lost.
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
    """Return the names of the weights of the class the model was published as; None where that is not known."""
    import copy

    import transformers

    cls = getattr(transformers, next(iter(config.architectures or ()), ""), None)
    if cls is None:
        return None
    with torch.device("meta"):
        return set(cls(copy.deepcopy(config)).state_dict())


def _beyond(model: PreTrainedModel, unexpected: Collection[str], prefix: str) -> str | None:
    """Return a weight in the files that belongs to a further block of the body; None if there is none."""
    known = {re.sub(r"\.\d+\.", ".#.", name.removeprefix(prefix)) for name, _ in model.named_parameters()}
    for name in sorted(unexpected):
        plain = name.removeprefix(prefix)
        if re.search(r"\.\d+\.", plain) and re.sub(r"\.\d+\.", ".#.", plain) in known:
            return name
    return None


def _agree(published: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> bool:
    """Return whether a head's classes are those of the data, in their order; one without names only has to have as many."""
    ours, theirs = ([str(classes[number]) for number in sorted(classes)] for classes in (published, wanted))
    unnamed = all(name == f"LABEL_{number}" for number, name in enumerate(ours))
    return len(ours) == len(theirs) and (unnamed or ours == theirs)


def _make_anew(model: PreTrainedModel, parts: Sequence[nn.Module]) -> None:
    """Give modules weights as the library gives new ones."""
    std = getattr(model.config, "initializer_range", None) or 0.02
    for module in (module for part in parts for module in part.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            # The library leaves alone what it has loaded, so these are others.
            fresh = nn.Parameter(torch.empty_like(parameter))
            nn.init.zeros_(fresh) if parameter.ndim < 2 else nn.init.normal_(fresh, std=std)
            setattr(module, name, fresh)
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        init_weights(model, module)


def _check_numbers(name: str, model: nn.Module) -> None:
    """Make sure that every weight is a number.

    Raises:
        HarnessError: One is not; names it.
    """
    for weight, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            message = f"model {name!r}: its weights hold what is not a number (nan or infinity), first in {weight}: get the files again"
            raise HarnessError(message)
