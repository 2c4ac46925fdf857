"""The callers of `load.py`, for Locust: scans to /verify, each caller at its own pace, whatever the answers do.

Run by `load.py`, which says in the environment where the scans are (CALLERS_SCANS), how many seconds lie between two
calls of one caller (CALLERS_EACH_S, 0: none), and where to write what was seen (CALLERS_TOLD).
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, constant_pacing, events, task

EACH_S = float(os.environ["CALLERS_EACH_S"])
BOUNDARY = "boundary-of-the-callers"
ANSWERS: list[tuple[int, float]] = []
ERRORS = [0]
BEGUN: list[float] = []


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
    """Somebody with cheques to verify."""

    wait_time = constant_pacing(EACH_S) if EACH_S else constant(0)
    connection_timeout = 30.0
    network_timeout = 30.0

    def on_start(self) -> None:
        """Spread the callers over their interval, so that calls do not come in step."""
        time.sleep(random.uniform(0, EACH_S))

    @task
    def verify(self) -> None:
        """Send one scan."""
        begin = time.perf_counter()
        if not BEGUN:
            BEGUN.append(begin)
        with self.client.post(
            "/verify",
            data=random.choice(BODIES),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            catch_response=True,
        ) as answer:
            took = time.perf_counter() - begin
            if answer.status_code in {200, 503}:
                ANSWERS.append((answer.status_code, took))
                answer.success()
            else:
                ERRORS[0] += 1
                answer.failure(f"status {answer.status_code}")


@events.quitting.add_listener
def tell(**_: Any) -> None:
    """Write down what was seen."""
    seconds = time.perf_counter() - BEGUN[0] if BEGUN else 0.0
    told = {"answers": ANSWERS, "seconds": seconds, "errors": ERRORS[0]}
    Path(os.environ["CALLERS_TOLD"]).write_text(json.dumps(told))
