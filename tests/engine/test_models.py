import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.contracts import Facts, Task
from harness.engine.models import RunLoader, body_digest, build_heads, outside
from harness.errors import HarnessError
from harness.records import TrainConfig
from harness.testing import TinyModel, write_tiny_model

CPU = torch.device("cpu")


def built(catalog, folder, tasks, **train):
    loader = RunLoader(TinyModel(path=str(folder)), TrainConfig(**train))
    made = [catalog.make(Task, name, {}) for name in tasks]
    return build_heads(loader, made, [Facts(("a", "b", "c"))] * len(made), CPU)


def test_all_heads_share_one_body(catalog, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    heads = built(catalog, folder, ["text-classification", "language-modelling", "probe", "text-classification"])
    assert [model is None for model in heads.models] == [False, False, True, False]
    assert all(model.base_model is heads.body for model in heads.models if model is not None)


def test_the_language_model_head_sees_what_tuning_a_classifier_does_to_the_body(catalog, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    classifier, masked = built(catalog, folder, ["text-classification", "language-modelling"]).models
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    masked.eval()
    with torch.no_grad():
        before = masked(**batch).logits.clone()
        next(classifier.base_model.encoder.parameters()).add_(0.5)
        after = masked(**batch).logits
    assert not torch.equal(before, after)


def test_the_masked_head_keeps_its_pretrained_weights_and_its_tied_embeddings(catalog, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    masked = built(catalog, folder, ["text-classification", "language-modelling"]).models[1]
    assert masked.cls.predictions.decoder.weight is masked.base_model.embeddings.word_embeddings.weight


def test_a_head_the_model_was_published_without_is_undefined_with_its_reason(catalog, tiny_model):
    heads = built(catalog, tiny_model, ["text-classification", "language-modelling"])
    assert heads.models[1] is None
    assert heads.undefined == {1: "the model was published without a language-model head (as BertModel)"}


def test_tasks_without_heads_get_the_bare_body(catalog, tiny_model):
    heads = built(catalog, tiny_model, ["probe", "representation"])
    assert type(heads.body).__name__ == "BertModel"


def test_attention_dropout_is_a_setting_of_the_run(catalog, tiny_model):
    off = built(catalog, tiny_model, ["text-classification"])
    own = built(catalog, tiny_model, ["text-classification"], attention_dropout=None)
    assert off.body.config.attention_probs_dropout_prob == 0.0
    assert own.body.config.attention_probs_dropout_prob == 0.1


def test_the_head_is_what_is_outside_the_body(catalog, tiny_model):
    model = built(catalog, tiny_model, ["text-classification"]).models[0]
    assert [type(part).__name__ for part in outside(model)] == ["Dropout", "Linear"]


def test_the_digest_of_a_body_changes_with_one_weight_however_it_was_changed(catalog, tiny_model):
    body = built(catalog, tiny_model, ["probe"]).body
    before = body_digest(body)
    assert body_digest(body) == before
    next(body.parameters()).data[0, 0] += 1e-3  # past autograd, where no version counter would tell
    assert body_digest(body) != before


def loaded(folder, auto_class="AutoModelForSequenceClassification", *, head="new", seed=0, **settings):
    """Return a model under a head, and what was noted."""
    torch.manual_seed(seed)
    loader = RunLoader(TinyModel(path=str(folder), head=head), TrainConfig())
    settings = settings or {"num_labels": 2, "id2label": {0: "bad", 1: "good"}}
    return loader(auto_class, **settings), loader.notes


def refusal(folder, **settings):
    with pytest.raises(HarnessError) as error:
        loaded(folder, **settings)
    return str(error.value)


def changed(folder, change):
    """Rewrite a folder's weights."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_weights_that_are_missing_in_the_body_are_named(tmp_path):
    def drop(weights):
        for name in [name for name in weights if ".layer.1." in name]:
            del weights[name]

    folder = changed(write_tiny_model(tmp_path / "model", "BertForMaskedLM"), drop)
    message = refusal(folder)
    assert message.startswith(
        "model 'tiny': weights of the body are missing in its files: bert.encoder.layer.1.attention"
    )
    assert message.endswith("and 13 more")


def test_weights_of_another_shape_in_the_body_are_named(tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    message = refusal(folder)
    assert "weight shapes do not match config.json: bert.encoder.layer.0.intermediate.dense.bias" in message
    assert "((64,), not (48,))" in message


def test_more_layers_in_the_files_than_in_the_configuration_are_named(tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    assert "more layers than config.json states, such as encoder.layer.1" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    def spoil(weights):
        weights["encoder.layer.0.output.dense.bias"][3] = value

    folder = changed(write_tiny_model(tmp_path / "model"), spoil)
    message = refusal(folder)
    assert message.startswith("model 'tiny': its weights contain nan or infinity, first in ")
    assert "encoder.layer.0.output.dense.bias" in message


def test_a_pooler_the_model_was_published_without_is_part_of_the_head(catalog, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    heads = built(catalog, folder, ["text-classification", "language-modelling"])
    pooler = heads.body.pooler.dense.weight
    assert any(parameter is pooler for parameter in heads.head_of(heads.models[0]).parameters())
    whole = write_tiny_model(tmp_path / "whole")
    assert built(catalog, whole, ["text-classification"]).made == []


def test_a_body_saved_without_its_pooler_is_whole(tmp_path):
    def drop(weights):
        for name in [name for name in weights if name.startswith("pooler")]:
            del weights[name]

    _, notes = loaded(changed(write_tiny_model(tmp_path / "model"), drop))
    assert notes == ["the published model has no pooler; a new one is trained as part of the head"]


def test_the_digest_leaves_out_what_is_made_anew_for_each_seed(catalog, tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    digests = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        heads = built(catalog, folder, ["text-classification"])
        digests.add(body_digest(heads.body, heads.made))
    assert len(digests) == 1


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with a tiny classifier of two classes."""
    folder = tmp_path_factory.mktemp("published") / "model"
    names = {0: "bad", 1: "good"}
    return write_tiny_model(
        folder, "BertForSequenceClassification", num_labels=2, id2label=names, label2id={"bad": 0, "good": 1}
    )


@pytest.mark.parametrize("labels", [2, 3], ids=["of as many classes", "of another size"])
def test_a_published_head_is_made_anew_for_each_seed_and_that_is_said(published, labels):
    old = load_file(published / "model.safetensors")["classifier.weight"]
    settings = {"num_labels": labels, "id2label": {number: str(number) for number in range(labels)}}
    (first, notes), (again, _), (other, _) = (loaded(published, seed=seed, **settings) for seed in (0, 0, 1))
    assert first.classifier.weight.shape == (labels, 32)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert labels == 3 or not torch.equal(first.classifier.weight, old)
    assert 0.01 < float(first.classifier.weight.detach().std()) < 0.04  # the library's initializer_range is 0.02
    assert notes == [
        "the published head (2 classes: bad, good) is not used; every run starts with a new head (head=keep keeps it)"
    ]


def test_a_published_head_is_kept_where_that_is_asked_for_and_the_classes_agree(published):
    model, notes = loaded(published, head="keep")
    assert torch.equal(model.classifier.weight, load_file(published / "model.safetensors")["classifier.weight"])
    assert notes == ["the published head (classes bad, good) is kept"]


@pytest.mark.parametrize("names", [["good", "bad"], ["a", "b"], ["bad", "good", "so so"]])
def test_a_head_for_other_classes_is_not_kept(published, names):
    message = refusal(published, head="keep", num_labels=len(names), id2label=dict(enumerate(names)))
    assert f"the head's classes are bad, good, the data's are {', '.join(names)}" in message


def test_a_model_without_a_head_has_none_to_keep(tiny_model):
    assert "no published head for this task; remove head=keep" in refusal(tiny_model, head="keep")


def test_a_language_model_head_is_always_the_published_one(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "BertForMaskedLM")
    model, notes = loaded(folder, "AutoModelForMaskedLM", tie_word_embeddings=True)
    assert torch.equal(
        model.cls.predictions.transform.dense.weight,
        load_file(folder / "model.safetensors")["cls.predictions.transform.dense.weight"],
    )
    assert notes == []


def test_a_body_that_a_head_calls_otherwise_is_loaded_all_the_same(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "LlamaForCausalLM", num_key_value_heads=2)
    model, _ = loaded(folder, "AutoModelForQuestionAnswering", num_labels=2)
    stored = load_file(folder / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    assert torch.equal(model.base_model.layers[1].mlp.up_proj.weight, stored)


def test_an_architecture_without_the_head_is_refused_in_a_sentence(tmp_path):
    folder = write_tiny_model(
        tmp_path / "t5", "T5EncoderModel", d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2
    )
    with pytest.raises(HarnessError, match="transformers does not support CausalLM for model type 't5'"):
        loaded(folder, "AutoModelForCausalLM", use_cache=False)


def test_a_language_model_head_that_is_missing_is_no_head(tmp_path):
    def drop(weights):
        del weights["lm_head.weight"]

    shape = {"num_key_value_heads": 2, "tie_word_embeddings": False}
    folder = changed(write_tiny_model(tmp_path / "model", "LlamaForCausalLM", **shape), drop)
    with pytest.raises(
        HarnessError, match=r"weights of the language-model head are missing in its files: lm_head.weight"
    ):
        loaded(folder, "AutoModelForCausalLM", use_cache=False)


def test_a_part_made_anew_is_found_again_under_an_adapter(catalog, tmp_path):
    import peft

    folder = write_tiny_model(tmp_path / "model", "AlbertForMaskedLM", embedding_size=32)
    heads = built(catalog, folder, ["text-classification"])
    assert heads.new_parts == ["pooler"]
    model = heads.models[0]
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["albert.pooler", "classifier"])
    )
    trained = {id(parameter) for parameter in adapted.parameters() if parameter.requires_grad}
    assert any(id(parameter) in trained for parameter in heads.made[0].parameters())
