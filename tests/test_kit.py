"""What the kit finds wrong of each kind of component; the built-in ones keep it in their own tests."""

import datasets
import numpy as np
import pytest

import harness
from harness.contracts import Dataset, Model, Reporter, Task
from harness.testing import (
    ToyDataset,
    check_dataset,
    check_executor,
    check_model,
    check_observer,
    check_reporter,
    check_task,
)

pytestmark = pytest.mark.slow

REVIEWS = {"text": [f"review {number}" for number in range(60)], "label": [0, 1] * 30}


class Reviews(harness.Dataset):
    """Reviews."""

    name = "reviews"
    task = "text-classification"
    watch_task = "probe"

    def fingerprint(self):
        return "1"

    def read(self):
        return harness.Data({"train": datasets.Dataset.from_dict(REVIEWS)}, harness.Facts(("bad", "good")))


class Unnamed(Reviews):
    """Has a label without a name."""

    def read(self):
        rows = {**REVIEWS, "label": [0, 1, 2] * 20}
        return harness.Data({"train": datasets.Dataset.from_dict(rows)}, harness.Facts(("bad", "good")))


class Old(Reviews):
    """Returns no facts."""

    def read(self):
        return {"train": datasets.Dataset.from_dict(REVIEWS)}


class Unsteady(Reviews):
    """Returns other rows every time."""

    def read(self):
        rows = {**REVIEWS, "text": [f"review {number}" for number in np.random.default_rng().permutation(60)]}
        return harness.Data({"train": datasets.Dataset.from_dict(rows)}, harness.Facts(("bad", "good")))


class Anonymous(Reviews):
    """Has no fingerprint."""

    def fingerprint(self):
        return None


def test_a_dataset_that_keeps_the_contract_passes():
    check_dataset(Reviews())


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Unnamed(), "labels [2] have no name"),
        (Old(), "read() returns dict, not harness.Data"),
        (Unsteady(), "reading twice gives different rows"),
        (Anonymous(), "fingerprint() must be a string"),
    ],
    ids=["a label without a name", "no facts", "unsteady", "no fingerprint"],
)
def test_what_a_dataset_does_not_keep_is_said(dataset, said):
    with pytest.raises(AssertionError) as error:
        check_dataset(dataset)
    assert said in str(error.value)


class Broken(harness.Reporter):
    """Writes a blank as a word."""

    name = "broken"
    suffix = ".txt"

    def render(self, table):
        rows = [row for part in (table, *table.others) for row in part.rows]
        return "".join(f"{row.label} {[cell.value for cell in row.cells]}" for row in rows)


class Forgetful(Broken):
    """Leaves out arms that stand apart."""

    def render(self, table):
        return " ".join(row.label for row in table.rows) or "-"


@pytest.mark.parametrize(
    ("reporter", "said"),
    [(Broken(), "an empty cell is written as None"), (Forgetful(), "the output lacks the arm 'apart'")],
    ids=["a blank as a word", "an arm left out"],
)
def test_what_a_reporter_does_not_keep_is_said(reporter, said):
    with pytest.raises(AssertionError) as error:
        check_reporter(reporter)
    assert said in str(error.value)


def test_every_installed_reporter_keeps_the_contract(catalog):
    for cls in catalog.every(Reporter):
        check_reporter(cls())


class Quiet:
    def harness_run_started(self, run):
        """Not marked as a hook."""


class Loud:
    @harness.hookimpl
    def harness_run_finished(self, result):
        if isinstance(result, harness.Failure):
            raise ValueError(result.reason)


class Counting:
    @harness.hookimpl
    def harness_run_finished(self, result):
        del result


def test_an_observer_that_keeps_the_contract_passes():
    check_observer(Counting())


@pytest.mark.parametrize(
    ("observer", "said"),
    [
        (object(), "no hook found; define one of harness_run_started"),
        (Quiet(), "harness_run_started lacks the decorator @harness.hookimpl"),
        (Loud(), "observer 'observer' failed"),
    ],
    ids=["no hook", "not marked", "raises"],
)
def test_what_an_observer_does_not_keep_is_said(observer, said):
    with pytest.raises(AssertionError) as error:
        check_observer(observer)
    assert said in str(error.value)


class Nothing(harness.Executor):
    """Computes nothing."""

    name = "nothing"

    def run(self, jobs, host):
        list(jobs)
        return iter(())


def test_an_executor_that_computes_nothing_is_found_out():
    with pytest.raises(AssertionError, match="gives Failure, but Outcome in this process"):
        check_executor(Nothing())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imdb", "rotten-tomatoes", "sotu-era"])
def test_installed_datasets_keep_the_contract(catalog, name):
    check_dataset(catalog.make(Dataset, name, {"limit": {"train": 40, "validation": 20, "test": 20}}))


def test_the_embedded_model_keeps_the_contract(catalog):
    check_model(catalog.make(Model, "minilm", {}))


class Words(ToyDataset):
    """Numbers."""

    name = "words"

    def read(self):
        train = super().read().splits["train"]
        rows = {"text": train["text"][:], "label": [float(label) for label in train["label"][:]]}
        return harness.Data({"train": datasets.Dataset.from_dict(rows)})


@pytest.mark.parametrize(
    ("name", "data"),
    [("text-classification", None), ("probe", None), ("representation", None), ("regression", Words())],
    ids=["text-classification", "probe", "representation", "regression"],
)
def test_installed_tasks_keep_the_contract(catalog, name, data):
    check_task(catalog.make(Task, name, {}), data)


def test_a_task_whose_metric_has_no_value_on_its_predictions_is_found_out(catalog):
    class Wrong(type(catalog.make(Task, "text-classification", {}))):
        """Names a metric of something else."""

        name = "wrong"
        metrics = ("squad-f1",)

    with pytest.raises(AssertionError, match="metric 'squad-f1' is undefined for its predictions"):
        check_task(Wrong())
