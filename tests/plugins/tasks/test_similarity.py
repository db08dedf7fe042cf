import numpy as np
import pytest
import torch
import transformers
from scipy.stats import spearmanr

from harness import Facts
from harness.analysis.cache import AnalysisCache
from harness.analysis.scores import Scores
from harness.contracts import Dataset, Model
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.experiment.plan import make_plan
from harness.experiment.spec import make_spec
from harness.store import Store
from harness.testing import check_component, compute, write_tiny_model
from harness_plugins.tasks.similarity import Similarity


def test_it_keeps_the_contract():
    check_component(Similarity())


@pytest.mark.parametrize(
    ("classes", "columns"),
    [(("a", "b"), ("text", "text_pair", "label")), (None, ("text", "label")), (None, ("text", "text_pair"))],
    ids=["classes", "no pairs", "no scores"],
)
def test_data_without_pairs_and_a_number_for_each_is_refused(classes, columns):
    assert "needs pairs of texts with a number" in (Similarity().check(Facts(classes), columns) or "")


def test_equal_texts_are_as_alike_as_can_be_however_the_others_are_padded(tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    body = transformers.AutoModel.from_pretrained(folder).eval()
    rows = {"text": ["the plot is dull", "a film"], "text_pair": ["the plot is dull", "very loud and bright and calm"]}
    items = Similarity().encode({**rows, "label": [5.0, 1.0]}, tokenizer, 32)
    del items["truncated"]
    with torch.no_grad():
        cosines = Similarity().predict(body, Similarity().collate(items, tokenizer))
    assert cosines[0] == pytest.approx(1, abs=1e-5)
    assert cosines[1] < 0.999


@pytest.mark.slow
def test_untuned_minilm_finds_alike_what_people_find_alike(catalog, shared_data, tmp_path):
    params = {
        "path": str(shared_data / "stsb/sts-dev.csv"), "test": str(shared_data / "stsb/sts-test.csv"), "format": "tsv",
        "header": False, "quoted": False, "text": "6", "text_pair": "7", "label": "5", "numeric": True,
        "limit": {"test": 400},
    }  # fmt: skip
    spec = make_spec(
        {
            "name": "stsb", "strategies": ["untuned"], "seeds": [0], "watch": [{"dataset": "file", **params}],
            "stages": [{"dataset": "rotten-tomatoes", "limit": {"train": 20, "validation": 10, "test": 10}}],
        },
        "test",
    )  # fmt: skip
    (arm,) = make_plan(spec, catalog).arms
    outcome = compute(arm.runs[0], catalog, tmp_path)
    store = Store(tmp_path)
    found = Scores(store, catalog, AnalysisCache(), arm.runs[0], outcome).get("spearman", 0, 1).value

    watched = arm.runs[0].watch[0].dataset
    rows = prepare(catalog.restore(Dataset, watched), watched, Cache(store.cache), 0).splits["test"]
    place = catalog.make(Model, "minilm", {}).locate().path
    tokenizer, body = transformers.AutoTokenizer.from_pretrained(place), transformers.AutoModel.from_pretrained(place)

    def embedded(texts: list[str]) -> torch.Tensor:
        parts = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                texts[start : start + 64], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            with torch.no_grad():
                hidden = body(**batch).last_hidden_state * batch["attention_mask"].unsqueeze(-1)
            parts.append(hidden.sum(1) / batch["attention_mask"].sum(1, keepdim=True))
        return torch.cat(parts)

    cosines = torch.cosine_similarity(embedded(rows["text"][:]), embedded(rows["text_pair"][:]))
    by_hand = spearmanr(cosines.numpy(), np.array(rows["label"][:])).statistic
    assert found == pytest.approx(by_hand, abs=0.005)
    assert found == pytest.approx(0.820, abs=0.03)  # published for all-MiniLM-L6-v2 on all 1,379 pairs
