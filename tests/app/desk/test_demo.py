"""The demonstration: a store of its own, with cases at once, and nothing that a real service would allow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from app.commands.demo import demo_settings, fill
from app.commands.serve import DrainingServer
from app.settings import Settings
from tests.app.keyed import Serve
from tests.app.test_review_cases import REVIEW
from tests.service import free_port


def test_the_demonstration_has_cases_at_once(serve: Serve) -> None:
    client = serve(**REVIEW, keep_questioned_days=1)
    context: Any = client.app.state.context  # type: ignore[attr-defined]  # an application of ours
    assert client.portal is not None
    client.portal.call(fill, context, 3)
    cases = client.get("/cases").json()["cases"]
    assert len(cases) >= 3
    assert all(case["image_kept"] for case in cases)
    assert any(case["amount"] for case in cases)
    client.portal.call(fill, context, 30)
    assert len(client.get("/cases").json()["cases"]) == len(cases), "a store with signers is left as it is"


def test_the_demonstration_leaves_the_configured_store_alone(settings: Settings, tmp_path: Path) -> None:
    configured = settings.model_copy(update={"encryption_keys": SecretStr("a:b"), "root_path": "/x"})
    changed = demo_settings(configured, tmp_path / "demo", "127.0.0.1", 8000)
    assert changed.database_url == f"sqlite:///{tmp_path / 'demo' / 'demo.sqlite3'}"
    assert changed.encryption_keys is None
    assert changed.erasure_log is None
    assert (changed.bootstrap_key, changed.root_path) == (None, "")


def test_a_task_runs_beside_the_service_until_it_stops() -> None:
    ended: list[bool] = []

    async def serve() -> None:
        begun = asyncio.Event()

        async def beside() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        config = uvicorn.Config(FastAPI(), port=free_port(), log_config=None)
        server = DrainingServer(config, 0.0, beside)
        running = asyncio.create_task(server.serve())
        await begun.wait()
        assert server.started, "the port is open"
        server.should_exit = True
        await running

    asyncio.run(serve())
    assert ended == [True]
