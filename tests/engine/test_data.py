import datasets
import pytest

from harness.contracts import Data, Facts
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.errors import HarnessError
from tests.engine.given import Given, many, prepared


class Odd(Given):
    """Returns whatever a test wants."""

    name = "odd"

    def read(self) -> object:
        return ODD[self.split_seed]()


def _exit() -> None:
    raise SystemExit(2)


ODD = [
    lambda: None,
    lambda: {"train": [1, 2]},
    lambda: {"training": datasets.Dataset.from_dict({"text": ["a"]})},
    lambda: Data({"train": datasets.Dataset.from_dict({"text": ["a"]})}, {"classes": 2}),
    _exit,
]


def test_data_is_read_once_and_then_taken_from_the_cache(tmp_path):
    Given.reads.clear()
    first, second = (prepared(tmp_path, {"train": many(40)}) for _ in range(2))
    assert len(Given.reads) == 1
    assert first.facts == second.facts == Facts(("no", "yes"), "a licence", None)
    assert first.splits["test"]["text"][:] == second.splits["test"]["text"][:]


def test_another_limit_is_another_cache_entry(tmp_path):
    prepared(tmp_path, {"train": many(40)})
    assert len(prepared(tmp_path, {"train": many(40)}, limit={"train": 5}).splits["train"]) == 5


@pytest.mark.parametrize(
    ("which", "said"),
    list(
        enumerate(
            [
                "must return harness.Data with datasets.Dataset as splits, not NoneType",
                "must return harness.Data with datasets.Dataset as splits, not a mapping with other values",
                "must return splits named train, validation, test, including train; found: training",
                "facts must be harness.Facts, not dict",
                "read() exited the program (exit code 2)",
            ]
        )
    ),
)
def test_what_a_dataset_must_not_return_is_told_by_its_name(tmp_path, which, said):
    dataset = Odd(rows={"train": []}, split_seed=which)
    with pytest.raises(HarnessError, match="dataset 'odd': ") as error:
        prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
    assert said in str(error.value)


def test_what_a_dataset_raises_keeps_its_trace_and_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ODD", [lambda: 1 / 0])
    dataset = Odd(rows={"train": []})
    with pytest.raises(ZeroDivisionError) as error:
        prepare(dataset, dataset.reference(), Cache(tmp_path), seed=0)
    assert error.value.__notes__ == ["while reading dataset 'odd'"]
