"""Tables for programs."""

import harness


class JSON(harness.Reporter):
    """For programs: everything the table holds; null where undefined."""

    name = "json"
    suffix = ".json"

    def render(self, table: harness.Table) -> str:
        """Return the table as JSON."""
        return table.model_dump_json(indent=2) + "\n"


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Offer the reporter."""
    return [JSON]
