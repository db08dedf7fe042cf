"""TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue, PrivateAttr

import harness


class TensorBoard(harness.Tracker):
    """Event files for TensorBoard, a folder for each run; show them with `tensorboard --logdir FOLDER`."""

    name = "tensorboard"
    imports: ClassVar[tuple[str, ...]] = ("tensorboard",)
    install = "pip install 'finetune-harness[tensorboard]'"

    folder: str = Field("results/tensorboard", min_length=1, description="folder of the event files")

    _comparison: str = PrivateAttr("")
    _writers: dict[str, Any] = PrivateAttr(default_factory=dict)

    def begin(self, name: str, settings: Mapping[str, JsonValue]) -> None:
        """Remember the name of the comparison, which is the name of its folder."""
        del settings
        self._comparison = name

    def log(self, run: harness.Run, label: str, step: int, values: Mapping[str, float]) -> None:
        """Write a point of each curve."""
        for key, value in values.items():
            self._writer(run, label).add_scalar(f"tune/{key}", value, step)

    def finish(self, run: harness.Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Write the results of a run, and close its file."""
        writer = self._writer(run, label)
        for key, value in values.items():
            writer.add_scalar(f"result/{key}", value, 0)
        writer.add_text("run", f"{label}, seed {run.seed}, id {run.id}: {status}")
        writer.close()
        del self._writers[run.id]

    def _writer(self, run: harness.Run, label: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if run.id not in self._writers:
            # The id makes the folder one of its own, whatever the label is.
            place = Path(self.folder) / _slug(self._comparison) / f"{_slug(label)}-s{run.seed}-{run.id}"
            self._writers[run.id] = SummaryWriter(str(place))
        return self._writers[run.id]


def _slug(text: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in text).strip(".-") or "run"


@harness.hookimpl
def harness_trackers() -> list[type[harness.Tracker]]:
    """Register the tracker."""
    return [TensorBoard]
