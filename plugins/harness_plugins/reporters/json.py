"""Tables for other programs."""

import harness


class JSON(harness.Reporter):
    """JSON for other programs: the complete table; null if undefined."""

    name = "json"
    suffix = ".json"

    def render(self, table: harness.Table) -> str:
        """Return the table as JSON."""
        return table.model_dump_json(indent=2) + "\n"


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [JSON]
