"""Cost of tuning alone, without validation, tests, watching and inference."""

from __future__ import annotations

from harness.records import TUNING, Outcome, Phase

_NEVER_MEASURED = "stored before energy was measured"
_NOT_KNOWN = "it used cached features of an earlier run, whose energy was not measured"


def tuning_phases(outcome: Outcome) -> list[Phase]:
    """Return the phases that count as tuning."""
    return [outcome.phases[name] for name in TUNING if name in outcome.phases]


def device_seconds(outcome: Outcome) -> float:
    """Return the device time of tuning, summed over the processes, as if features were not cached."""
    return outcome.processes * outcome.shared.seconds + sum(
        phase.wall_seconds * outcome.processes if phase.device_seconds is None else phase.device_seconds
        for phase in tuning_phases(outcome)
    )


def energy_joules(outcome: Outcome) -> float | None:
    """Return the energy of tuning, as if features were not cached; None if it is not known."""
    parts = [phase.energy_joules for phase in tuning_phases(outcome)]
    if outcome.shared.seconds:
        parts.append(outcome.shared.energy_joules)
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def why_no_energy(outcome: Outcome) -> str | None:
    """Return why the energy of tuning is not known; None if it is."""
    if energy_joules(outcome) is not None:
        return None
    if outcome.energy is None:
        return _NEVER_MEASURED
    told = all(phase.energy_joules is not None for phase in tuning_phases(outcome))
    return _NOT_KNOWN if told else outcome.energy
