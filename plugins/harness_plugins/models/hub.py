"""A model of the Hugging Face hub."""

from pydantic import Field, JsonValue

import harness


class Hub(harness.Model):
    """A model of the Hugging Face hub, pinned: `hub:<id>@<revision>`."""

    name = "hub"
    version = 2
    argument = "id"

    id: str = Field(description="the model's id, such as distilbert/distilbert-base-uncased")
    revision: str = Field(description="a commit hash, so that the run can be repeated")

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters that `hub:<id>@<revision>` stands for."""
        name, at, revision = text.partition("@")
        if not (name and at and revision):
            message = f"'hub:{text}' names no revision: write hub:<id>@<revision>, so that the run can be repeated"
            raise ValueError(message)
        return {"id": name, "revision": revision}

    def locate(self) -> harness.ModelSource:
        """Return the hub's id and revision; the weights are fetched, or found in the hub's cache, when they are loaded."""
        return harness.ModelSource(self.id, self.revision, None, None)


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Offer the model."""
    return [Hub]
