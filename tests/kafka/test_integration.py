"""The integration tests of the embedded broker that can run on Kafka, on Kafka."""

import pytest

from tests.integration.test_kills import (
    test_a_worker_killed_three_times_loses_nothing,
    test_workers_join_and_leave_without_a_loss_or_a_repeat,
)
from tests.integration.test_read_model import test_it_equals_a_recount_through_kills_flushes_and_rebuilds

pytestmark = pytest.mark.kafka

__all__ = [
    "test_a_worker_killed_three_times_loses_nothing",
    "test_it_equals_a_recount_through_kills_flushes_and_rebuilds",
    "test_workers_join_and_leave_without_a_loss_or_a_repeat",
]
