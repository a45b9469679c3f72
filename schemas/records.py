"""A line as an object: a record with the SPEC's fields, or what is wrong with it (SPEC §2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schemas.policy import Policy

NO_TYPE: Final = 255


@dataclass(frozen=True, slots=True)
class Reject:
    """Why something is not valid. ``reason``: index in columns.REASONS; ``field``: the field at fault, if there is one.

    ``record_type``: index in RECORD_TYPES where the line says as much, else NO_TYPE.
    """

    reason: int
    field: str | None
    message: str
    record_type: int = NO_TYPE


class Record(NamedTuple):
    """A valid record: the SPEC's fields with their units; None: absent, or not a field of its type.

    Words are their index in the lists of ``schemas.columns``, a province its index in ``config.provinces``.
    ``per_piece_e4``: quote and order, price by pack size, rounded half up; ceiling and contract, the price itself.
    ``code``: empty for ``policy`` and ``tick``. ``accepted_ms``: ``at_ms`` where a delivery does not say.
    A tuple, because a frozen dataclass of so many fields takes longer to make than its line to parse.
    """

    type: int
    at_ms: int
    seq: int = 0
    id: str | None = None
    code: str = ""
    province: int | None = None
    price_e4: int | None = None
    pack_size: int | None = None
    per_piece_e4: int | None = None
    quantity: int | None = None
    kind: int | None = None
    status: int | None = None
    supplier: str | None = None
    unit: str | None = None
    effective_ms: int | None = None
    valid_until_ms: int | None = None
    order_id: str | None = None
    institution: str | None = None
    contract_id: str | None = None
    channel: int | None = None
    bargained_by: int | None = None
    delivery_id: str | None = None
    accepted_ms: int | None = None
    agreed_quantity: int | None = None
    starts_ms: int | None = None
    ends_ms: int | None = None
    delivery_hours: int | None = None
    paid_total_e4: int | None = None
    payer: int | None = None
    action: int | None = None
    alert_id: str | None = None
    actor: str | None = None
    note: str | None = None
    device_class: int | None = None
    name: str | None = None
    category: str | None = None
    moved_to: str | None = None
    special_drug: bool | None = None
    policy: Policy | None = None
