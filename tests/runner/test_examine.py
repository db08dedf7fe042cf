import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness import HarnessError
from harness.engine.cache import Cache
from harness.experiment.asked import Asked
from harness.runner.examine import examine
from harness.testing import write_tiny_model

pytestmark = pytest.mark.slow

WORDS = ("the", "a", "film", "plot", "actor", "scene")


def table(
    folder: Path, rows: int = 60, name: str = "reviews.csv", word=lambda number: "good" if number % 2 else "bad"
) -> str:
    lines = [
        f"{WORDS[number % 6]} {WORDS[number // 6 % 6]} {WORDS[number // 36]} {word(number)},{'good' if number % 2 else 'bad'}"
        for number in range(rows)
    ]
    (folder / name).write_text("\n".join(["text,label", *lines]) + "\n")
    return str(folder / name)


def examined(catalog, folder, target, model, **asked):
    plan = Asked(target=target, model=str(model), watch=["none"], strategies=["full"], **asked).plan(catalog)
    return examine(plan, catalog, Cache(folder / "cache"), lambda _: None)


def refusal(*args, **asked):
    with pytest.raises(HarnessError) as error:
        examined(*args, **asked)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_everything_that_was_understood_is_there(catalog, tmp_path, tiny_model):
    target = table(tmp_path)
    lines = Path(target).read_text().replace(",", ";").splitlines()
    Path(target).write_text(
        "\n".join(["id;" + lines[0], *(f"{number};{line}" for number, line in enumerate(lines[1:]))])
    )
    (data,) = examined(catalog, tmp_path, target, tiny_model, limit=["train=20"]).data
    assert (data.dataset, data.task, data.why) == ("file", "text-classification", "each text has one of several labels")
    assert data.rows == sum(split.rows for split in data.splits.values()) == 60 - data.left_out["over the limit"]
    assert data.columns.used == {"text": ("text",), "label": ("label",)}
    assert data.columns.unused == ("id",)
    assert data.classes == {
        name: sum(split.classes[name] for split in data.splits.values()) for name in ("bad", "good")
    }
    assert data.example.startswith("[CLS] ")
    assert data.example.endswith((" good [SEP]", " bad [SEP]"))
    assert (data.truncated, data.unknown_tokens) == (0.0, 0.0)
    assert data.notes == (
        "separator ';'",
        "each seed trains on its own 20 of 44 rows, so intervals contain what other training rows would change",
    )


def test_cut_texts_and_unknown_tokens_are_told_in_per_cent(catalog, tmp_path, tiny_model):
    target = table(tmp_path, word=lambda number: "zebra good bad" if number % 2 else "bad")
    (data,) = examined(catalog, tmp_path, target, tiny_model, options=["train.max_length=7"]).data
    assert 40 < data.truncated < 60
    assert 5 < data.unknown_tokens < 20


def test_a_language_the_tokenizer_hardly_knows_is_a_warning_and_one_it_does_not_is_refused(
    catalog, tmp_path, tiny_model
):
    half = table(tmp_path, word=lambda number: f"eins zwei drei {number}")
    (data,) = examined(catalog, tmp_path, half, tiny_model).data
    assert any(
        "of the tokens are unknown to the model's tokenizer: it may not suit" in warning for warning in data.warnings
    )
    (tmp_path / "all.csv").write_text("text,label\n" + "".join(f"eins zwei {n},{n % 2}\n" for n in range(60)))
    assert "100 % of its tokens are unknown to the model's tokenizer" in refusal(
        catalog, tmp_path, str(tmp_path / "all.csv"), tiny_model
    )


def test_what_a_small_or_uneven_test_split_cannot_tell_is_said(catalog, tmp_path, tiny_model):
    target = table(tmp_path, rows=10)
    Path(target).write_text(Path(target).read_text() + "a film is calm,rare\n")
    (data,) = examined(catalog, tmp_path, target, tiny_model).data
    assert "the test split has 2 rows and validation 1: scores on so few rows are unreliable" in data.warnings
    assert "classes without rows in test, so not tested: 'rare' (1)" in data.warnings


def test_a_label_that_stands_in_every_text_is_told(catalog, tmp_path, tiny_model):
    (data,) = examined(catalog, tmp_path, table(tmp_path), tiny_model).data
    assert "the texts of each class contain its name: the text may give away the label" in data.warnings


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused(catalog, tmp_path):
    model = write_tiny_model(tmp_path / "model", vocab_size=15)
    message = refusal(catalog, tmp_path, table(tmp_path), model)
    assert "its tokenizer has 23 tokens, but its embedding has 15 rows" in message


def test_a_model_that_is_not_whole_is_refused_before_any_run(catalog, tmp_path):
    model = write_tiny_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    message = refusal(catalog, tmp_path, table(tmp_path), model)
    assert (
        message
        == "model 'folder': weights of the body are missing in its files: bert.encoder.layer.1.output.dense.weight"
    )


def test_what_is_new_or_not_used_of_the_model_is_said(catalog, tmp_path):
    model = write_tiny_model(tmp_path / "model", "BertForSequenceClassification", num_labels=3)
    *_, note = examined(catalog, tmp_path, table(tmp_path), model).notes
    assert note.startswith("the published head (3 classes: LABEL_0, LABEL_1, LABEL_2) is not used")


def test_a_length_nobody_asked_for_is_lowered_to_the_models_and_that_is_said(catalog, tmp_path, tiny_model):
    notes = examined(catalog, tmp_path, table(tmp_path), tiny_model).notes
    assert "max_length is 64 tokens, the model's limit, instead of 128" in notes
    with pytest.raises(HarnessError, match=r"train.max_length is 65, but model 'folder' supports at most 64 tokens"):
        examined(catalog, tmp_path, table(tmp_path), tiny_model, options=["train.max_length=65"])


def test_a_process_of_its_own_finds_the_same(catalog, tmp_path, tiny_model):
    plan = Asked(target=table(tmp_path), model=str(tiny_model), watch=["none"], strategies=["full"]).plan(catalog)
    here, apart = (
        examine(plan, catalog, Cache(tmp_path / "cache"), lambda _: None, apart=apart) for apart in (None, ())
    )
    assert here == apart


def test_a_mistake_found_in_a_process_of_its_own_is_the_same_mistake(catalog, tmp_path):
    model = write_tiny_model(tmp_path / "model", vocab_size=15)
    plan = Asked(target=table(tmp_path), model=str(model), watch=["none"], strategies=["full"]).plan(catalog)
    with pytest.raises(HarnessError, match="its tokenizer has 23 tokens"):
        examine(plan, catalog, Cache(tmp_path / "cache"), lambda _: None, apart=())


def test_the_summary_is_json(catalog, tmp_path, tiny_model):
    (data,) = examined(catalog, tmp_path, table(tmp_path), tiny_model).data
    kept = json.loads(data.model_dump_json())
    assert set(kept) >= {
        "dataset",
        "task",
        "rows",
        "left_out",
        "columns",
        "classes",
        "splits",
        "example",
        "truncated",
        "unknown_tokens",
        "warnings",
    }
