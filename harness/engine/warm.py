"""Imported by the process that runs' processes are copied from: what every run needs, once, before any device is touched."""

from __future__ import annotations

from harness.engine.worker import prepare_process

prepare_process()
