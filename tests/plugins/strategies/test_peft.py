"""Every method of the installed PEFT, through the harness's own engine, on tiny models of several architectures."""

import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import peft
import pytest
import torch
import transformers
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from harness import HarnessError
from harness.catalog import Catalog
from harness.contracts import Dataset, Metric, Strategy, Task
from harness.engine.cache import Cache
from harness.engine.execute import open_session
from harness.engine.features import Features
from harness.engine.meter import Meter
from harness.engine.models import outside
from harness.engine.stage import RunStage
from harness.experiment.plan import Plan, make_plan
from harness.experiment.spec import make_spec
from harness.records import TaskData
from harness.testing import toy_catalog, toy_run, write_tiny_model
from harness_plugins.strategies._peft_methods import METHODS

# PEFT warns of its own internals, such as hooks on layers it has wrapped.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertModel", {}),
    "llama": ("LlamaForCausalLM", {"num_key_value_heads": 2}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "roberta": ("RobertaForMaskedLM", {"max_position_embeddings": 80}),
    "distilbert": ("DistilBertModel", {}),
    "modernbert": ("ModernBertForMaskedLM", {}),
    "t5": ("T5ForConditionalGeneration", {"d_kv": 16}),
}

NEVER = {
    *("adalora", "adaption_prompt", "cpt", "multitask_prompt_tuning", "poly", "shadow", "trainable_tokens", "xlora"),
}
PROMPTS = {"cartridge", "p_tuning", "prefix_tuning", "prompt_tuning"}
ONLY_LINEAR = {
    *("adamss", "beft", "boft", "c3a", "delora", "glora", "hra", "lily", "loha", "lokr", "miss", "oft", "peanut"),
    *("psoft", "road", "shira", "supertuning"),
}
EMBEDDED = {"p_tuning", "prompt_tuning"}
"""What hands a decoder's head embeddings, so that it cannot tell padding from a text's last token."""
CACHED = "past_key_values" in signature(transformers.BertModel.forward).parameters
"""Whether models take keys and values under the name that PEFT passes; transformers 5.24 renamed it."""
RENAMED = set() if CACHED else {"cartridge", "prefix_tuning"}
needs_cache = pytest.mark.skipif(not CACHED, reason="PEFT cannot pass keys and values to these models")
REFUSED = {
    "bert": NEVER | RENAMED,
    "llama": NEVER | EMBEDDED | RENAMED,
    "gpt2": NEVER | ONLY_LINEAR | EMBEDDED | RENAMED,
    "distilbert": NEVER | {"beft", "ia3", "cartridge", "prefix_tuning"},
    "modernbert": NEVER | {"beft", "ia3", "cartridge", "prefix_tuning"},
    "t5": NEVER | PROMPTS,
}
FIT = [
    *((kind, method) for kind in ("bert", "llama") for method in sorted(set(METHODS) - REFUSED[kind])),
    *(("gpt2", method) for method in ("ia3", "osf", "vera")),
    # Its head is made of several modules, as that of many models is.
    *(("roberta", method) for method in ("ia3", "ln_tuning", "oft", "prompt_tuning", *({"prefix_tuning"} - RENAMED))),
]


class Tasting(RunStage):
    """A stage that tries what is shipped on a batch before it is merged."""

    adapted: torch.Tensor | None = None

    def ship(self, model: torch.nn.Module) -> None:
        self.adapted = scores(model)
        super().ship(model)


def scores(model: torch.nn.Module) -> torch.Tensor:
    """Return scores for four texts, `[4, ...]`."""
    tokens = torch.arange(24).reshape(4, 6) % 20 + 3
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    return found


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    """BOFT names a compiler in the environment."""
    before = {"CC", "CXX"} & set(os.environ)
    yield
    for name in {"CC", "CXX"} - before:
        os.environ.pop(name, None)


@pytest.fixture(scope="module")
def toys() -> Catalog:
    return toy_catalog()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    models = {kind: write_tiny_model(root / kind, name, **settings) for kind, (name, settings) in ARCHITECTURES.items()}
    return {**models, "cache": root / "cache"}


def tuned_by(
    toys: Catalog,
    folder: Path,
    cache: Path,
    params: Mapping[str, Any],
    target: Path,
    problem: TaskData | None = None,
    **train: Any,
) -> tuple[Tasting, torch.nn.Module]:
    """Return the stage of a toy run, or of one on another problem, and its model as the strategy tuned it."""
    strategy = toys.make(Strategy, "peft", params)
    run = toy_run(toys, folder, strategy, epochs=1, learning_rate=1e-2, **train)
    run = run.model_copy(update={"stages": (problem or run.stages[0],), "watch": ()})
    accelerator = accelerate.Accelerator(cpu=True)
    session = open_session(run, toys, accelerator, Cache(cache), Meter(accelerator.device), lambda _: None)
    metric = toys.make(Metric, session.tokens[0].task.metrics[0], {})
    stage = Tasting(session, Features(session), 0, metric, target)
    before = scores(stage.model)
    tuned = strategy.tune(stage)
    assert not torch.allclose(scores(tuned), before, rtol=0, atol=1e-3), "nothing was learned"
    return stage, tuned


def planned(toys: Catalog, folder: Path, strategy: Any, stages: Any = ("toy",)) -> Plan:
    spec = {
        "name": "x",
        "model": {"name": "tiny", "path": str(folder)},
        "stages": list(stages),
        "strategies": [strategy],
    }
    return make_plan(make_spec(spec, "test"), toys)


def refusal(toys: Catalog, folder: Path, strategy: Any, stages: Any = ("toy",)) -> str | None:
    try:
        planned(toys, folder, strategy, stages)
    except HarnessError as error:
        return str(error)
    return None


def test_every_method_of_the_installed_peft_is_in_the_table():
    assert set(METHODS) == {kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_does_not_suit_a_model_is_refused_when_planned_with_the_reason(toys, folders, kind):
    found = {method: refusal(toys, folders[kind], f"peft:{method}") for method in METHODS}
    refused = {method: reason for method, reason in found.items() if reason}
    assert set(refused) == REFUSED[kind]
    for method, reason in refused.items():
        _, _, clause = reason.partition(": ")
        assert method in reason
        assert len(clause.split()) > 5
        assert not reason.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(set(METHODS) - NEVER - PROMPTS - {"beft"}))
def test_what_is_refused_for_gpt2_is_what_peft_itself_refuses(toys, folders, method):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders["gpt2"], num_labels=2)
    config = toys.make(Strategy, "peft", {"method": method}).config(
        SimpleNamespace(model=model, body=model.base_model, head=outside(model))
    )
    refused = pytest.raises((TypeError, ValueError, NotImplementedError), match="Conv1D")
    with refused if method in ONLY_LINEAR else nullcontext():
        peft.get_peft_model(model, config)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method"), FIT, ids=[f"{method}-{kind}" for kind, method in FIT])
def test_what_is_delivered_loads_with_plain_peft_and_predicts_the_same(toys, folders, tmp_path, method, kind):
    folder = tmp_path / "delivered"
    stage, tuned = tuned_by(toys, folders[kind], folders["cache"], {"method": method}, folder)
    if stage.adapted is None:
        stage.ship(tuned)
    fresh = transformers.AutoModelForSequenceClassification.from_pretrained(folders[kind], num_labels=2)
    fresh.config.pad_token_id = 0
    loaded = peft.PeftModel.from_pretrained(fresh, folder)
    assert torch.allclose(scores(loaded), stage.adapted, rtol=0, atol=1e-5)
    assert torch.allclose(scores(tuned), stage.adapted, rtol=0, atol=1e-4)  # merged into single-precision weights


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("peft:vara", "unknown method of PEFT 'vara': did you mean 'vera'?"),
        ("peft:xlora", "it combines adapters that are already trained"),
        ({"name": "peft:ia3", "rank": 4}, "unknown setting of ia3 'rank'"),
        ({"name": "peft:oft", "r": 4, "oft_block_size": 4}, "PEFT rejects these settings of oft: "),
    ],
    ids=["unknown method", "unfit method", "unknown setting", "bad setting"],
)
def test_what_peft_cannot_do_is_refused_when_planned(toys, tiny_model, strategy, message):
    assert message in str(refusal(toys, tiny_model, strategy))


def test_a_method_for_layers_that_peft_does_not_know_takes_their_names(toys, folders):
    layers = {"target_modules": ["k_lin", "v_lin", "ffn.lin2"], "feedforward_modules": ["ffn.lin2"]}
    assert refusal(toys, folders["distilbert"], {"name": "peft:ia3", **layers}) is None


def test_what_cannot_be_merged_is_refused_for_several_stages(toys, tiny_model):
    two = [{"dataset": "toy"}, {"dataset": "toy", "seed": 1}]
    assert "cannot be merged into the weights" in str(refusal(toys, tiny_model, "peft:lily", two))
    assert refusal(toys, tiny_model, "peft:prompt_tuning", two) is None  # leaves the weights as they are


def test_a_prompt_for_a_masked_language_model_is_refused_when_planned(toys, folders):
    prose = [{"dataset": "toy", "task": "language-modelling"}]
    assert refusal(toys, folders["roberta"], "peft:prompt_tuning", prose) == (
        "strategy 'peft:prompt_tuning' cannot be used: PEFT does not support prompt_tuning for MaskedLM, which task "
        "'language-modelling' requires"
    )
    assert refusal(toys, folders["gpt2"], "peft:prompt_tuning", prose) is None


def test_a_prompt_that_leaves_a_text_no_room_is_refused_with_the_numbers(toys, tiny_model, tmp_path):
    params = {"method": "prompt_tuning", "num_virtual_tokens": 50}
    with pytest.raises(HarnessError) as error:
        tuned_by(toys, tiny_model, tmp_path / "cache", params, tmp_path / "model")
    assert str(error.value) == (
        "strategy 'peft': 50 prepended tokens plus train.max_length 24 exceed the model's limit of 64 tokens; lower "
        "train.max_length or num_virtual_tokens"
    )


@pytest.mark.parametrize("method", ["prompt_tuning", pytest.param("prefix_tuning", marks=needs_cache)])
def test_what_stands_before_a_text_does_not_move_the_scores_of_its_tokens(toys, tiny_model, tmp_path, method):
    path = tmp_path / "names.conll"
    words = ("the", "film", "is", "a", "plot")
    path.write_text("".join(f"{one} O\ngood B-a\n{other} O\n\n" for one in words for other in words))
    names = toys.make(Dataset, "file", {"path": str(path)})
    task = toys.make(Task, "token-classification", {})
    problem = TaskData(dataset=names.reference(), task=task.reference())
    _, tuned = tuned_by(toys, tiny_model, tmp_path / "cache", {"method": method}, tmp_path / "model", problem)
    tokens = torch.arange(24).reshape(4, 6) % 20 + 3
    with torch.no_grad():
        plain = type(tuned).forward(tuned, input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    before = {"prompt_tuning": 20, "prefix_tuning": 0}[method]
    assert plain.shape[1] == before + 6
    assert torch.equal(scores(tuned), plain[:, before:])


def test_each_method_is_a_row_of_its_own_with_its_own_learning_rate(toys, tiny_model):
    spec = {"name": "x", "model": {"name": "tiny", "path": str(tiny_model)}, "stages": ["toy"]}
    plan = make_plan(make_spec({**spec, "strategies": ["peft:ia3", "peft:osf", "ia3"]}, "test"), toys)
    rates = {arm.label: arm.runs[0].train.learning_rate for arm in plan.arms if arm.role == "contender"}
    assert rates == {"peft:ia3": 5e-3, "peft:osf": 5e-5, "ia3": 5e-3}


def test_a_setting_reaches_pefts_configuration(toys, tiny_model, tmp_path):
    small, large = (
        tuned_by(toys, tiny_model, tmp_path / "cache", {"method": "vera", "r": rank}, tmp_path / str(rank))
        for rank in (2, 64)
    )
    assert small[0].trained(small[1]) < large[0].trained(large[1])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_before_a_text_whose_last_token_is_scored_is_refused_when_planned(toys, folders, kind):
    assert "would score padding instead of a text's last token" in str(
        refusal(toys, folders[kind], "peft:prompt_tuning", [{"dataset": "toy"}])
    )
    assert (refusal(toys, folders[kind], "peft:prefix_tuning", [{"dataset": "toy"}]) is None) == CACHED
