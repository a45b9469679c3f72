"""The twin's supply and settlement of one code (SPEC §6 and §7)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.naive_alerts import Step

if TYPE_CHECKING:
    from tests.naive import NaiveMachine, Product


@dataclass
class Supply:
    """All contracts, orders, deliveries and payments of a code."""

    machine: "NaiveMachine"
    product: "Product"

    def instants(self) -> Iterator[int]:
        """Yields when something may happen by itself."""
        return iter(())

    def change(self, step: Step) -> None:
        """Applies the step's record."""

    def evaluate(self, step: Step) -> None:
        """Evaluates everything once after a step."""
