"""The integration tests of the embedded broker of which there is no harder one here, on Kafka."""

import pytest

from tests.integration.test_read_model import test_it_equals_a_recount_through_kills_flushes_and_rebuilds

pytestmark = pytest.mark.kafka

__all__ = ["test_it_equals_a_recount_through_kills_flushes_and_rebuilds"]
