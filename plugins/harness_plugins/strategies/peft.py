"""All methods of the installed PEFT."""

import re
import warnings
from collections.abc import Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.fields import FieldInfo

import harness
from harness_plugins.strategies._peft_methods import METHODS, Method, word_for

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import nn
    from transformers import PreTrainedModel

_GIVEN = frozenset(
    {
        *("modules_to_save", "task_type", "inference_mode", "peft_type", "auto_mapping", "peft_version"),
        *("base_model_name_or_path", "revision", "fan_in_fan_out"),
        *("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
        # PEFT uses these only if it selects modules by the ends of their names.
        *("layers_to_transform", "layers_pattern"),
    }
)
"""Settings of PEFT that are determined by the model and the task."""
_UNLIKE_TORCH = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Model types whose linear layers are not torch's."""
_CHANGED = {
    "linear": "all linear layers of the body",
    "norms": "all norms of the body",
    "architecture": "the layers that PEFT selects for the model type",
    "embeddings": "no weights of the model; it prepends embeddings to the text",
    "cache": "no weights of the model; it prepends keys and values to those of the text",
}
_END = re.compile(r"(?<=[^.\s]{2})\.(?=\s|[A-Z]|$)")
"""The end of a sentence; PEFT's help texts lack some spaces, and "e.g." is not an end."""
_NAMING = ("target_modules", "feedforward_modules")
_SCORES = ("logits", "start_logits", "end_logits")


class Peft(harness.Strategy):
    """Any method of the installed PEFT, such as `peft:ia3` or `peft:vera`, with PEFT's own setting names.

    It changes all linear layers of the body, unless the method defines otherwise; a new head is trained with it.
    Adapters that can be merged into the weights are merged afterwards. `harness describe strategy peft:ia3` shows a
    method's settings.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name = "peft"
    argument: ClassVar[str | None] = "method"
    arguments = {
        name: f"{method.summary[0].upper()}{method.summary[1:]}."
        for name, method in METHODS.items()
        if method.unfit is None
    }
    imports = ("peft",)

    method: str = Field(description="PEFT's name of the method in lower case")

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the method named after the colon; it is checked together with the parameters."""
        return {"method": text} if cls.argument else super().parse_argument(text)

    @classmethod
    def about(cls, argument: str | None = None) -> str:
        """Return the description of the method and the source of its learning rate."""
        name = cls._method_of(argument)
        if name is None:
            return super().about(argument)
        method = METHODS[name]
        after = (
            "The model's weights do not change, and watched data is measured without the adapter."
            if _is_prompt(method)
            else "The adapter is merged into the weights afterwards."
            if method.merges
            else "The adapter cannot be merged into the weights, so it supports one stage only."
        )
        text = f"{cls.arguments[name]}\n\nBy PEFT, as {name}." if cls.argument else super().about(argument)
        rate = f"Learning rate {method.learning_rate:g}: {method.source}; not searched for on your data."
        return f"{text}\n\nIt changes {_CHANGED[method.targets]}; a new head is trained with it. {after}\n\n{rate}"

    @classmethod
    def settings(cls, argument: str | None = None) -> Mapping[str, FieldInfo]:
        """Return the method and its PEFT settings."""
        name = cls._method_of(argument)
        if name is None:
            return super().settings(argument)
        found = {**super().settings(argument), **_settings(name)}
        found["method"] = FieldInfo(annotation=str, default=name, description=found["method"].description)
        return found

    @classmethod
    def _method_of(cls, argument: str | None) -> str | None:
        """Return the method of `name:argument`, or of `name` if it has a fixed method; None if it is not known."""
        name = str(argument if cls.argument else cls.model_fields["method"].default)
        return name if name in METHODS and METHODS[name].unfit is None else None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.method not in METHODS:
            raise ValueError(str(harness.unknown("method of PEFT", self.method, self.arguments)))
        if unfit := METHODS[self.method].unfit:
            message = f"{self.method} is not supported: {unfit}"
            raise ValueError(message)
        if self.model_extra:
            import dataclasses

            known = {field.name for field in dataclasses.fields(_config_class(self.method))} - _GIVEN
            for setting in self.model_extra:
                if setting not in known:
                    raise ValueError(str(harness.unknown(f"setting of {self.method}", setting, known)))
            try:
                _config_class(self.method)(**self.model_extra)
            except (TypeError, ValueError) as error:
                message = f"PEFT rejects these settings of {self.method}: {error}"
                raise ValueError(message) from None
        return self

    def training(self, tasks: Sequence[harness.Task]) -> Mapping[str, JsonValue]:
        """Return the method's own learning rate."""
        del tasks
        return {"learning_rate": METHODS[self.method].learning_rate}

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why the model cannot be tuned this way."""
        method = METHODS[self.method]
        if _is_prompt(method):
            return self._check_prompt(model, tasks)
        if len(tasks) > 1 and not method.merges:
            return f"{self.method} adapters cannot be merged into the weights, so it supports one stage only"
        kind = str(model.published().get("model_type"))
        if method.only_linear and kind in _UNLIKE_TORCH:
            return f"{self.method} supports only torch's linear layers; models of type {kind!r} have others (Conv1D)"
        chosen = self.model_extra or {}
        if method.targets == "architecture" and "target_modules" not in chosen and kind not in _choices(self.method):
            return (
                f"PEFT has no default layers of {self.method} for models of type {kind!r}; set "
                f"{' and '.join(name for name in self.settings(self.method) if name in _NAMING)}"
            )
        return None

    def _check_prompt(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why nothing can be prepended to the text."""
        from inspect import signature

        published = model.published()
        if published.get("is_encoder_decoder"):
            return f"{self.method} does not support encoder-decoder models"
        taken = "past_key_values" if METHODS[self.method].targets == "cache" else "inputs_embeds"
        accepted = signature(harness.skeleton(model).forward).parameters
        if taken == "past_key_values" and taken not in accepted and "cache" in accepted:
            # transformers 5.24 renamed the argument; PEFT up to 0.21.2 looks for the former name.
            return (
                f"the installed version of PEFT cannot pass keys and values to the installed version of transformers: for "
                f"{self.method}, install a newer PEFT or transformers before 5.24"
            )
        if taken not in accepted:
            what = "keys and values" if taken == "past_key_values" else "embeddings"
            return f"models of type {published.get('model_type')!r} do not accept {what} as input"
        for task in tasks:
            head = harness.head_class(model, task)
            if head is not None and word_for(head) is None:
                return (
                    f"PEFT does not support {self.method} for {head.removeprefix('AutoModelFor')}, which task "
                    f"{task.name!r} requires"
                )
            if taken == "inputs_embeds" and head is not None and harness.scores_last_token(model, head):
                return (
                    f"{self.method} passes embeddings instead of tokens, so the head of models of type "
                    f"{published.get('model_type')!r} would score padding instead of a text's last token"
                )
        return None

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the adapter merged, or with the adapter if it cannot be merged."""
        import peft

        from harness.adapters import merged

        method = METHODS[self.method]
        config = self.config(stage)
        if _is_prompt(method):
            self._make_sure_of_room(stage, config)
        try:
            with warnings.catch_warnings():
                # PEFT warns about norms even in the method made for them.
                warnings.filterwarnings("ignore", "Unsupported layer type")
                adapted = peft.get_peft_model(stage.model, config)
        except (ValueError, NotImplementedError) as error:
            # Errors of the user's settings or architecture that planning cannot detect.
            message = (
                f"strategy {self.name!r}: PEFT cannot apply {self.method} to this model: {error}; remove it, or "
                "change its settings "
                f"(harness describe strategy peft:{self.method})"
            )
            raise harness.HarnessError(message) from None
        if _is_prompt(method):
            adapted.register_forward_hook(_aligned, with_kwargs=True)
        stage.fit(adapted)
        return merged(stage, adapted) if method.merges else cast("nn.Module", adapted)

    def config(self, stage: harness.Stage) -> "PeftConfig":
        """Return the method's PEFT configuration for a stage's model."""
        import dataclasses

        from harness.adapters import (
            linear_layers,
            norms,
            trained_heads,
            transposed,
            widths,
        )

        method, cls = METHODS[self.method], _config_class(self.method)
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        settings: dict[str, Any] = {"modules_to_save": trained_heads(stage)}
        layers = linear_layers(stage, [stage.body])
        settings["fan_in_fan_out"] = transposed(layers)
        if _is_prompt(method):
            # Only here: PEFT's task classes keep whole heads, which most methods cannot merge.
            settings["task_type"] = word_for(type(stage.model).__name__)
            settings["modules_to_save"] = list(
                dict.fromkeys(_whole(name, stage.model.base_model_prefix) for name in trained_heads(stage))
            )
            settings |= _sizes(stage.model)
        elif method.targets != "architecture":
            settings["target_modules"] = list(layers) if method.targets == "linear" else norms(stage.model, stage.body)
        shapes = [widths(layer) for layer in layers.values()]
        for name, rule in method.bounds.items():
            settings[name] = _bounded(method.settings.get(name, known[name]), rule, shapes)
        settings |= {name: value for name, value in method.settings.items() if name not in method.bounds}
        return cls(**{name: value for name, value in settings.items() if name in known} | (self.model_extra or {}))

    def _make_sure_of_room(self, stage: harness.Stage, config: "PeftConfig") -> None:
        positions = getattr(stage.model.config, "max_position_embeddings", None)
        tokens: int = cast("Any", config).num_virtual_tokens
        if positions is not None and stage.config.max_length + tokens > positions:
            message = (
                f"strategy {self.name!r}: {tokens} prepended tokens plus train.max_length {stage.config.max_length} "
                "exceed "
                f"the model's limit of {positions} tokens; lower train.max_length or num_virtual_tokens"
            )
            raise harness.HarnessError(message)


class IA3(Peft):
    """Train vectors that scale keys, values and the feed-forward layer.

    Source: Liu et al., 2022 (Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
    https://arxiv.org/abs/2205.05638), by PEFT.
    """

    name = "ia3"
    argument, arguments = None, {}
    method: Literal["ia3"] = Field("ia3", description="PEFT's name of the method")


class VeRA(Peft):
    """Train scaling vectors around random matrices shared by all layers.

    Source: Kopiczko et al., 2024 (VeRA: Vector-based Random Matrix Adaptation, https://arxiv.org/abs/2310.11454), by PEFT.
    """

    name = "vera"
    argument, arguments = None, {}
    method: Literal["vera"] = Field("vera", description="PEFT's name of the method")


class OFT(Peft):
    """Train an orthogonal rotation of each weight, block by block.

    Source: Qiu et al., 2023 (Controlling Text-to-Image Diffusion by Orthogonal Finetuning,
    https://arxiv.org/abs/2306.07280), by PEFT.
    """

    name = "oft"
    argument, arguments = None, {}
    method: Literal["oft"] = Field("oft", description="PEFT's name of the method")


class Prefix(Peft):
    """Train keys and values that are prepended to those of the text in every layer.

    Source: Li and Liang, 2021 (Prefix-Tuning, https://arxiv.org/abs/2101.00190), by PEFT.
    """

    name = "prefix"
    argument, arguments = None, {}
    method: Literal["prefix_tuning"] = Field("prefix_tuning", description="PEFT's name of the method")


class Prompt(Peft):
    """Train embeddings that are prepended to the text.

    Source: Lester et al., 2021 (The Power of Scale for Parameter-Efficient Prompt Tuning,
    https://arxiv.org/abs/2104.08691), by PEFT.
    """

    name = "prompt"
    argument, arguments = None, {}
    method: Literal["prompt_tuning"] = Field("prompt_tuning", description="PEFT's name of the method")


class LayerNorm(Peft):
    """Train the scales and shifts of the norms, and the head.

    Source: Zhao et al., 2023 (Tuning LayerNorm in Attention, https://arxiv.org/abs/2312.11420), by PEFT.
    """

    name = "layernorm"
    argument, arguments = None, {}
    method: Literal["ln_tuning"] = Field("ln_tuning", description="PEFT's name of the method")


def _whole(name: str, body: str) -> str:
    """Return the top-level part of a model that a module belongs to; inside the body, the part of the body."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == body else first


def _is_prompt(method: Method) -> bool:
    return method.targets in {"embeddings", "cache"}


def _aligned(adapted: "PeftModel", args: Any, kwargs: Any, output: Any) -> Any:
    """Remove the scores of prepended tokens, so that the others align with the text's tokens."""
    del adapted, args
    length = kwargs["input_ids"].shape[1]
    for name in _SCORES:
        scores = output.get(name)
        # Scores are `[b, k]` per text, `[b, tokens, k]` per token, and `[b, tokens]` for starts and ends.
        if scores is not None and (name != "logits" or scores.ndim > 2):
            output[name] = scores[:, -length:]
    return output


def _sizes(model: "PreTrainedModel") -> dict[str, int]:
    """Return the model's sizes under PEFT's names, if the model's configuration uses names that PEFT does not know."""
    config, shown = model.config, model.config.to_dict()
    names = {
        "token_dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_attention_heads": "num_attention_heads",
    }
    return {peft_name: getattr(config, name) for peft_name, name in names.items() if name not in shown}


def _bounded(value: int, rule: str, shapes: list[tuple[int, int]]) -> int:
    every = [width for shape in shapes for width in shape]
    match rule:
        case "divides":
            return gcd(value, *every)
        case "smallest":
            return min(value, *every)
        case "rank":
            return min(value, *(rows * columns // (rows + columns) for rows, columns in shapes))
    return min(value, *(rows * columns for rows, columns in shapes))


def _settings(name: str) -> Mapping[str, FieldInfo]:
    """Return the PEFT settings of a method, with the defaults used here."""
    import dataclasses

    method, found = METHODS[name], {}
    for field in dataclasses.fields(_config_class(name)):
        if field.name in _GIVEN:
            continue
        text = " ".join(str(field.metadata.get("help", "")).split())
        text = next(iter(_END.split(text, maxsplit=1)))
        default = method.settings.get(field.name, _plain(field))
        if field.name == "target_modules":
            text, default = "names of modules, ends of names, or a regular expression", _CHANGED[method.targets]
        if field.name in method.bounds:
            text += "; the default is lowered to fit the model's layers"
        found[field.name] = FieldInfo(annotation=cast("Any", field.type), default=default, description=text)
    return found


def _plain(field: Any) -> Any:
    """Return a setting's default as a plain value; None if it has none."""
    import dataclasses
    import enum

    default = field.default
    if default is dataclasses.MISSING:
        return None if field.default_factory is dataclasses.MISSING else field.default_factory()
    return default.value if isinstance(default, enum.Enum) else default


def _choices(method: str) -> Mapping[str, Any]:
    """Return PEFT's default modules of this method, by model type."""
    from peft.utils import constants

    chosen: Mapping[str, Any] = getattr(constants, f"TRANSFORMERS_MODELS_TO_{method.upper()}_TARGET_MODULES_MAPPING")
    return chosen


def _config_class(method: str) -> "type[PeftConfig]":
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    classes: dict[str, type[PeftConfig]] = {
        kind.value.lower(): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()
    }
    return classes[method]


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategies."""
    return [Peft, IA3, VeRA, OFT, Prefix, Prompt, LayerNorm]
