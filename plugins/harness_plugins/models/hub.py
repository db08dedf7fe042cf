"""A model from the Hugging Face Hub."""

from pydantic import Field, JsonValue

import harness


class Hub(harness.Model):
    """A model from the Hugging Face Hub at a fixed revision: `hub:<id>@<revision>`."""

    name = "hub"
    version = 2
    argument = "id"

    id: str = Field(description="model id, such as distilbert/distilbert-base-uncased")
    revision: str = Field(description="commit hash, so that the run is reproducible")

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters that `hub:<id>@<revision>` stands for."""
        name, at, revision = text.partition("@")
        if not (name and at and revision):
            message = f"'hub:{text}' has no revision: write hub:<id>@<revision>, so that the run is reproducible"
            raise ValueError(message)
        return {"id": name, "revision": revision}

    def locate(self) -> harness.ModelSource:
        """Return the Hub id and revision; the weights are downloaded, or read from the Hub's cache, on loading."""
        return harness.ModelSource(self.id, self.revision, None, None)


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Register the model."""
    return [Hub]
