import math

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

from harness import Facts
from harness.engine.models import RunLoader
from harness.records import TrainConfig
from harness.testing import TinyModel, check_component
from harness_plugins.tasks.text_classification import TextClassification

TASK = TextClassification()


class Answers(nn.Module):
    """A model that gives the same class scores to every text."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, input_ids: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.scores.expand(len(input_ids), -1))


def test_it_keeps_the_contract():
    check_component(TASK)


def test_a_new_head_has_the_datasets_classes_by_name(tiny_model):
    model = TASK.build(RunLoader(TinyModel(path=str(tiny_model)), TrainConfig()), Facts(("no", "maybe", "yes")))
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.classifier.out_features == 3
    assert model.config.id2label == {0: "no", 1: "maybe", 2: "yes"}


def test_the_loss_is_the_summed_cross_entropy_in_nats():
    batch = {"input_ids": torch.zeros(3, 2, dtype=torch.long), "labels": torch.tensor([0, 1, 1])}
    # Odds of 3 to 1 for class 0.
    expected = -math.log(3 / 4) - 2 * math.log(1 / 4)
    assert TASK.loss(Answers([math.log(3), 0.0]), batch).item() == pytest.approx(expected, rel=1e-6)


def test_the_prediction_is_the_scores_before_softmax():
    batch = {"input_ids": torch.zeros(2, 2, dtype=torch.long), "labels": torch.tensor([0, 1])}
    assert TASK.predict(Answers([5.0, -2.0]), batch).tolist() == [[5.0, -2.0], [5.0, -2.0]]


def test_texts_and_pairs_become_tokens_and_a_cut_one_is_marked(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = {"text": ["good film", "the plot"], "text_pair": ["bad", "is very very very dull"], "label": [1, 0]}
    encoded = TASK.encode(rows, tokenizer, max_length=8)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]) == [
        "[CLS]",
        "good",
        "film",
        "[SEP]",
        "bad",
        "[SEP]",
    ]
    assert len(encoded["input_ids"][1]) == 8
    assert encoded["truncated"] == [False, True]
    assert encoded["labels"] == [1, 0]


@pytest.mark.parametrize(
    ("classes", "columns", "reason"),
    [
        (("no", "yes"), ["text", "label"], None),
        (("no", "yes"), ["text"], "needs a column 'label', but the data has: text"),
        (("same",), ["text", "label"], "needs at least two classes, but the data has only 'same'"),
        (("no", "yes"), ["words", "label"], "needs a column 'text', but the data has: words, label"),
    ],
    ids=["fitting", "no labels", "one class", "no texts"],
)
def test_data_that_does_not_suit_is_refused_with_the_reason(classes, columns, reason):
    assert TASK.check(Facts(classes), columns) == reason
