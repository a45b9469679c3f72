"""Exit codes of pricelink's processes, and the faults they stand for. A supervisor restarts on all but OK and CONFIG."""

from typing import Final

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


class ConfigFault(RuntimeError):
    """Something that a restart will not cure; the message says what to change."""


def code_of(fault: BaseException) -> int:
    """Returns the exit code for what ended a process."""
    import aiokafka.errors

    if isinstance(fault, ConfigFault):
        return CONFIG
    if isinstance(fault, aiokafka.errors.KafkaError | OSError):
        return INFRASTRUCTURE
    return BUG
