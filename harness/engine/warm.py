"""Imported once by the server process from which run processes are forked, before any device is used."""

from __future__ import annotations

from harness.engine.worker import prepare_process

prepare_process()
