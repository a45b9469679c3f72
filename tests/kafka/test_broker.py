"""The broker of these tests and of `pricelink run --kafka`: it keeps its data, whatever happens to its process."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import topics
from agents.real_kafka import KafkaUnavailable, RealKafka
from config.settings import Settings
from tests.integration.cluster import ROOT
from tests.integration.test_embedded import gone

pytestmark = pytest.mark.kafka


def has_our_topics(broker: RealKafka) -> bool:
    return not any(found.created for found in topics.apply(Settings(bootstrap=broker.bootstrap)))


def test_it_keeps_its_topics_when_stopped_killed_and_paused(tmp_path: Path) -> None:
    with RealKafka(tmp_path / "k") as broker:
        pid, bootstrap = broker.pid, broker.bootstrap
        assert not has_our_topics(broker)

        broker.pause()
        assert not broker.answers(0.5)
        broker.resume()
        assert broker.answers(10)
        assert broker.pid == pid

        broker.kill()
        assert gone(pid)
        assert not broker.alive
        assert not broker.answers(0.5)
        broker.start()
        assert broker.pid != pid
        assert broker.bootstrap == bootstrap
        assert has_our_topics(broker)

    assert not broker.alive
    with RealKafka(tmp_path / "k") as again:
        assert again.bootstrap == bootstrap
        assert has_our_topics(again)

    with socket.socket() as other:  # somebody else has the port now
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", again.port))
        other.listen()
        with RealKafka(tmp_path / "k") as moved:
            assert moved.bootstrap != bootstrap
            assert has_our_topics(moved)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from agents.real_kafka import RealKafka; "
        "k = RealKafka(Path(sys.argv[1])).start(); print(k.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid, 0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_a_folder_that_is_none_of_kafka_s_is_refused_with_what_kafka_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    began = time.monotonic()
    with pytest.raises(KafkaUnavailable, match=str(tmp_path)):
        RealKafka(tmp_path).start()
    assert time.monotonic() - began < 60
