"""A process that delivers numbered records from a spool; run by `test_delivery`, which kills it."""

import sys
import time
from pathlib import Path

from batches import gauges

from offbeat import wire
from offbeat.collector import outbox as outbox_module
from offbeat.collector import uplink as uplink_module
from offbeat.collector.outbox import Outbox
from offbeat.collector.spool import Spool
from offbeat.collector.uplink import Uplink, connect

BAD_EVERY = 7
"""Every so many numbers a batch that the service refuses comes in between."""


def say(word):
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main():
    """Hand over numbers *first* … *last* - 1; say "safe" when a kill cannot lose them, "done" when all are durable."""
    url, token, directory, first, last = sys.argv[1:]
    uplink_module.BACKOFF_SECONDS, uplink_module.BACKOFF_CAP_SECONDS = 0.01, 0.1
    outbox_module.RESEND_SECONDS = 0.3
    outbox = Outbox(Spool(Path(directory), "node1"), limit_bytes=1 << 28, max_age_seconds=3600, write_after=0.05)
    for number in range(int(first), int(last)):
        outbox.append(wire.encode(gauges([number], at=time.time_ns())))
        if number % BAD_EVERY == 0:
            outbox.append(b"no batch at all")
    assert outbox.flush(60)
    say("safe")
    uplink = Uplink(outbox, "node1", connect(url, token))
    uplink.start()
    while outbox.size()[0]:
        assert uplink.fatal is None, uplink.fatal
        time.sleep(0.01)
    say("done")
    uplink.stop(1)
    outbox.close()


main()
