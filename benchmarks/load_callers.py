"""The callers of `load.py`, for Locust: scans to /verify, each caller at its own pace, whatever the answers do.

Run by `load.py`, which says in the environment where the scans are (CALLERS_SCANS), how many seconds lie on average
between two calls of one caller (CALLERS_EACH_S, 0: none), and where to write what was seen (CALLERS_TOLD).
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task

EACH_S = float(os.environ["CALLERS_EACH_S"])
BOUNDARY = "boundary-of-the-callers"
ANSWERS: list[tuple[int, float]] = []
ERRORS = [0]
BEGUN: list[float] = []
ENDED = [0.0]


def body(path: Path) -> bytes:
    """The form that asks for a scan to be verified; the scan's name begins with the signer's."""
    signer = path.name.partition("-")[0]
    return (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="signer_id"\r\n\r\n{signer}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="{path.name}"\r\n\r\n'
        ).encode()
        + path.read_bytes()
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


BODIES = [body(path) for path in sorted(Path(os.environ["CALLERS_SCANS"]).iterdir())]


class Caller(FastHttpUser):
    """A branch with cheques to verify: one after the other, or each when it falls due, whatever became of the last.

    Those that fall due do so at random: together the callers are a Poisson stream that waits for nobody.
    """

    connection_timeout = 30.0
    network_timeout = 60.0
    concurrency = 1000  # connections that one caller may hold
    due = 0.0
    sent: set[gevent.Greenlet] = set()  # noqa: RUF012 - replaced for each caller at its start

    def on_start(self) -> None:
        """Wait until the first call is due."""
        self.sent = set()
        self.due = time.perf_counter()
        time.sleep(self.wait_time())

    def on_stop(self) -> None:
        """Hear all answers."""
        gevent.joinall(list(self.sent), timeout=60)

    def wait_time(self) -> float:
        """Seconds until the next call is due."""
        now = time.perf_counter()
        self.due = self.due + random.expovariate(1.0 / EACH_S) if EACH_S else now
        return max(0.0, self.due - now)

    @task
    def call(self) -> None:
        """Send one scan, and wait for the answer or do not."""
        if not EACH_S:
            self.verify(self.due)
            return
        call = gevent.spawn(self.verify, self.due)
        self.sent.add(call)
        call.link(self.sent.discard)

    def verify(self, due: float) -> None:
        """Send one scan; its latency counts from when it was due, so a late caller hides nothing."""
        if not BEGUN:
            BEGUN.append(due)
        with self.client.post(
            "/verify",
            data=random.choice(BODIES),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            catch_response=True,
        ) as answer:
            ENDED[0] = time.perf_counter()
            took = ENDED[0] - due
            if answer.status_code in {200, 503}:
                ANSWERS.append((answer.status_code, took))
                answer.success()
            else:
                ERRORS[0] += 1
                answer.failure(f"status {answer.status_code}")


@events.quitting.add_listener
def tell(**_: Any) -> None:
    """Write down what was seen, from the first call to the last answer."""
    seconds = ENDED[0] - BEGUN[0] if BEGUN else 0.0
    told = {"answers": ANSWERS, "seconds": seconds, "errors": ERRORS[0]}
    Path(os.environ["CALLERS_TOLD"]).write_text(json.dumps(told))
