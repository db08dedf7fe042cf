import pytest

from harness import HarnessError, ModelSource
from harness.experiment.asked import Asked
from harness.testing import check_component
from harness_plugins.models.hub import Hub


def test_the_revision_is_what_tells_one_model_from_another():
    model = Hub(id="some/model", revision="0123abc")
    assert model.locate() == ModelSource("some/model", "0123abc", None, None)
    assert model.fingerprint() == "0123abc"


def test_a_name_is_an_id_and_a_revision():
    assert Hub.parse_argument("some/model@0123abc") == {"id": "some/model", "revision": "0123abc"}


@pytest.mark.parametrize("name", ["hub:some/model", "hub:some/model@", "hub:@0123abc"])
def test_a_model_without_a_revision_is_refused_with_the_mend(catalog, name):
    with pytest.raises(HarnessError) as error:
        Asked(datasets=["toy"], model=name).plan(catalog)
    assert str(error.value) == (
        f"model: {name!r} has no revision: write hub:<id>@<revision>, so that the run is reproducible"
    )


def test_a_model_is_loaded_by_the_hubs_own_means(tiny_model):
    # A folder in the place of an id goes the same way, without a network.
    model = Hub(id=str(tiny_model), revision="0123abc")
    assert type(model.load("AutoModel")).__name__ == "BertModel"
    assert model.config().architectures == ["BertModel"]
    assert model.tokenizer().pad_token == "[PAD]"


def test_it_keeps_the_contract():
    check_component(Hub(id="some/model", revision="0123abc"))
