"""Exit codes of pricelink's processes, and the faults they stand for. A supervisor restarts on all but OK and CONFIG."""

from typing import Any, Final

import structlog

_log = structlog.get_logger("exit")

OK: Final = 0
"""Asked to stop, and everything is written and committed."""
BUG: Final = 70
"""A fault in pricelink itself. Nothing was acked that was not done; a restart repeats the work."""
INFRASTRUCTURE: Final = 74
"""The broker or the network failed for longer than clients retry."""
STALLED: Final = 75
"""The watchdog: records wait and none was applied for ``stall_s``, or the process does not respond."""
CONFIG: Final = 78
"""Settings or topics do not fit; a restart will not help."""

REASONS: Final = {BUG: "bug", INFRASTRUCTURE: "infrastructure", STALLED: "stalled", CONFIG: "config"}
"""The word for each in the log."""


class ConfigFault(RuntimeError):
    """Something that a restart will not cure; the message says what to change."""


class InfrastructureFault(RuntimeError):
    """Something around us that somebody else must mend; a restart goes on then. The message says what."""


def code_of(fault: BaseException) -> int:
    """Returns the exit code for what ended a process."""
    import aiokafka.errors

    if isinstance(fault, ConfigFault) or remedy_of(fault):
        return CONFIG
    if isinstance(fault, InfrastructureFault | aiokafka.errors.KafkaError | OSError):
        return INFRASTRUCTURE
    return BUG


def remedy_of(fault: BaseException) -> str:
    """Returns what to do about a right that Kafka denied us; empty where the fault is another."""
    from aiokafka import errors

    denied = (
        errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError, errors.ClusterAuthorizationFailedError,
    )  # fmt: skip
    if isinstance(fault, denied):
        return "this principal lacks a right in Kafka: `pricelink topics apply --acls` gives each role its own (docs/security.md)"
    return ""


def ended_by(fault: BaseException) -> int:
    """Logs what ended a process; returns its exit code. Where it shows in the traceback alone, that is logged, too."""
    code = code_of(fault)
    more: dict[str, Any] = {"remedy": remedy} if (remedy := remedy_of(fault)) else {}
    if code == BUG:
        more["exc_info"] = fault
    _log.error(
        "ended by a fault; what was not acked is repeated at the next start (exit codes: docs/operations.md)",
        reason=REASONS[code], fault=fault, exit_code=code, **more,
    )  # fmt: skip
    return code
