"""The partition's own row of the state topic: it ends each checkpoint and says where to go on."""

from dataclasses import dataclass
from typing import Final

import orjson

PARTITION_KEY: Final = b"#partition"
"""Sorts apart from every code."""


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """Clock, policy and the offset of ``feeds`` up to which all rows are applied."""

    next_offset: int
    clock_ms: int
    policy_at_ms: int
    policy_seq: int
    policy: bytes | None
    """Canonical JSON of the policy record that holds; None while the file's does."""

    def to_bytes(self) -> bytes:
        """Returns the row's value."""
        return orjson.dumps(
            {
                "version": 1,
                "next_offset": self.next_offset,
                "clock_ms": self.clock_ms,
                "policy_at_ms": self.policy_at_ms,
                "policy_seq": self.policy_seq,
                "policy": None if self.policy is None else self.policy.decode(),
            }
        )

    @classmethod
    def from_bytes(cls, value: bytes) -> "PartitionRow":
        """Reads a value that ``to_bytes`` wrote. Raises ValueError for any other layout."""
        row = orjson.loads(value)
        if row.get("version") != 1:
            raise ValueError(f"partition row of layout {row.get('version')}: rebuild the state from the log")
        policy = row["policy"]
        return cls(
            next_offset=row["next_offset"],
            clock_ms=row["clock_ms"],
            policy_at_ms=row["policy_at_ms"],
            policy_seq=row["policy_seq"],
            policy=None if policy is None else policy.encode(),
        )
