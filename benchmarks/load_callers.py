"""Locust file of `load.py`: callers that send scans to /verify.

`load.py` runs it with three environment variables: CALLERS_SCANS, the folder of the scans; CALLERS_INTERVAL_S, the
mean number of seconds between two calls of one caller (0: each call follows the previous response); and
CALLERS_REPORT, the file for the report.
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

INTERVAL_S = float(os.environ["CALLERS_INTERVAL_S"])
BOUNDARY = "boundary-of-the-callers"
RESPONSES: list[tuple[int, float]] = []  # status, latency in seconds
ERRORS = [0]
FIRST_CALL: list[float] = []
LAST_RESPONSE = [0.0]


def request_body(path: Path) -> bytes:
    """Build the form that verifies a scan; the file name starts with the signer's id."""
    signer = path.name.partition("-")[0]
    return (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="signer_id"\r\n\r\n{signer}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="{path.name}"\r\n\r\n'
        ).encode()
        + path.read_bytes()
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


BODIES = [request_body(path) for path in sorted(Path(os.environ["CALLERS_SCANS"]).iterdir())]


class Caller(FastHttpUser):
    """A caller in a closed loop (interval 0) or one that sends at random times without waiting for answers.

    With exponential intervals, all callers together form a Poisson stream of arrivals.
    """

    connection_timeout = 30.0
    network_timeout = 60.0
    concurrency = 1000  # maximum number of connections of one caller
    due = 0.0
    in_flight: set[gevent.Greenlet] = set()  # noqa: RUF012 - replaced for each caller in on_start

    def on_start(self) -> None:
        """Wait until the first call is due."""
        self.in_flight = set()
        self.due = time.perf_counter()
        time.sleep(self.wait_time())

    def on_stop(self) -> None:
        """Wait for all responses."""
        gevent.joinall(list(self.in_flight), timeout=60)

    def wait_time(self) -> float:
        """Return the seconds until the next call is due."""
        now = time.perf_counter()
        self.due = self.due + random.expovariate(1.0 / INTERVAL_S) if INTERVAL_S else now
        return max(0.0, self.due - now)

    @task
    def call(self) -> None:
        """Send one scan; wait for the response only in a closed loop."""
        if not INTERVAL_S:
            self.verify(self.due)
            return
        call = gevent.spawn(self.verify, self.due)
        self.in_flight.add(call)
        call.link(self.in_flight.discard)

    def verify(self, due: float) -> None:
        """Send one scan. Its latency is measured from the due time, so that late calls are not underestimated."""
        if not FIRST_CALL:
            FIRST_CALL.append(due)
        with self.client.post(
            "/verify",
            data=random.choice(BODIES),  # type: ignore[arg-type]  # passed on to the socket, which takes bytes
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            catch_response=True,
        ) as response:
            LAST_RESPONSE[0] = time.perf_counter()
            latency_s = LAST_RESPONSE[0] - due
            if response.status_code in {200, 503}:
                RESPONSES.append((response.status_code, latency_s))
                response.success()
            else:
                ERRORS[0] += 1
                response.failure(f"status {response.status_code}")


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust has no annotation here
def write_report(**_: Any) -> None:
    """Write the responses, and the seconds from the first call to the last response."""
    seconds = LAST_RESPONSE[0] - FIRST_CALL[0] if FIRST_CALL else 0.0
    report = {"responses": RESPONSES, "seconds": seconds, "errors": ERRORS[0]}
    Path(os.environ["CALLERS_REPORT"]).write_text(json.dumps(report))
