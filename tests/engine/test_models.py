import torch

from harness.contracts import Facts, Task
from harness.engine.models import RunLoader, body_digest, build_heads, head_of
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
    assert [type(part).__name__ for part in head_of(model)] == ["Dropout", "Linear"]


def test_the_digest_of_a_body_changes_with_one_weight_however_it_was_changed(catalog, tiny_model):
    body = built(catalog, tiny_model, ["probe"]).body
    before = body_digest(body)
    assert body_digest(body) == before
    next(body.parameters()).data[0, 0] += 1e-3  # past autograd, where no version counter would tell
    assert body_digest(body) != before
