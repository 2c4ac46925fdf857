"""Shared fixtures: a small model, an in-process service with it, synthetic signatures, and real data.

A plugin that `tests/conftest.py` loads where tests run.
"""

from __future__ import annotations

import base64
import fcntl
import gc
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr

from app.main import create_app
from app.settings import ROOT, Settings
from app.store.engine import open_engine
from model.data.readers.folder import FolderDataset
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.networks import build
from model.networks.weights import save
from model.synthetic.command import write_folder
from model.synthetic.writer import Writer
from tests.decoders import SharedPool, shared_pool, stop_shared_pools
from tests.postgres import Postgres

TEST_KEY = f"test:{base64.b64encode(bytes(range(32))).decode()}"
"""A public encryption key, for tests only."""
LOCAL = {"widths": [4, 6, 8, 10], "canvas": [64, 128], "cell": 2}
LAYOUT = {"widths": [4, 6, 8, 10], "grid": [4, 8], "cell": 4}
Draw = Callable[..., bytes]


def make_model(folder: Path, name: str, seed: int, specimens: Path, *, local: bool) -> Path:
    """Save a small untrained network, with a calibration fitted on its distances to synthetic signatures.

    The distances are meaningful because random convolutions depend on the shape of the ink, too.
    """
    torch.manual_seed(seed)
    network, options = ("local", LOCAL) if local else ("layout", LAYOUT)
    card = save(
        folder,
        build(network, **options),
        {
            "name": name,
            "network": network,
            "network_options": options,
            "canvas": {"height": 64, "width": 128, "method": "moments", "fill": 0.8},
            "dimension": 257 if local else 128,
            "metric": "local" if local else "euclidean",
            "terms": "permissive",
        },
        f'name = "{name}"\n',
    )
    writers = embed_dataset(WeightsFeatures(folder, InkCache()), FolderDataset(specimens, "synthetic"))
    fit_calibration([writers], card.sha256, card.metric, draws=2).save(folder)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one process of the test run makes, and the others use; nobody may change it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = base / f"{name}.unfinished"
            make(unfinished)
            unfinished.rename(folder)
    return folder


def pytest_unconfigure() -> None:
    """Shorten the collections with which pytest ends: after five seconds, pytest-xdist interrupts the worker."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic signatures: 8 writers with 12 genuine signatures and 6 forgeries each."""
    return made_once(
        tmp_path_factory,
        "people",
        lambda folder: write_folder(folder, writers=8, genuine=12, forged=6, seed=11),
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    """A weights folder with a small model."""
    return made_once(
        tmp_path_factory, "tiny", lambda folder: make_model(folder, "tiny", 0, specimens, local=True)
    )


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    """A weights folder of another architecture, whose templates are not comparable with those of `model_folder`."""
    return made_once(
        tmp_path_factory, "other", lambda folder: make_model(folder, "other", 1, specimens, local=False)
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test session. Tests that need it fail when it is not installed."""
    try:
        server = Postgres()
    except LookupError as error:
        pytest.fail(str(error), pytrace=False)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with empty tables, to be copied: the migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "test.db"
    open_engine(f"sqlite:///{path}", 1).dispose()
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no write-ahead log is left"
    return path


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """Name of a PostgreSQL database with empty tables, to be copied."""
    name = postgres.new_database()
    open_engine(postgres.url(name), 1).dispose()
    return name


@dataclass(frozen=True)
class Database:
    """A database of one test, with empty tables; `name` is SQLite's file, or the name of the PostgreSQL database."""

    url: str
    name: str

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.url.startswith("sqlite")


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with empty tables: an SQLite file, or a database on the PostgreSQL server of the tests."""
    if request.param == "sqlite":
        file = tmp_path / "store" / "test.db"
        file.parent.mkdir()
        shutil.copy(request.getfixturevalue("migrated_file"), file)  # with its mode
        yield Database(f"sqlite:///{file}", str(file))
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.new_database(request.getfixturevalue("migrated"))
    yield Database(server.url(name), name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, model_folder: Path, database: Database) -> Settings:
    """Settings of a service with the small model and an empty store."""
    return Settings(
        _env_file=None,
        weights=model_folder,
        database_url=database.url,
        encryption_keys=SecretStr(TEST_KEY),
        erasure_log=tmp_path / "erasures",
        device="cpu",
        deadline_s=30,  # the tests share the processor with others
        log_level="error",
        local_names="testserver",  # Host header of the test client
    )


@pytest.fixture(scope="session", autouse=True)
def _shared_decoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the services in this process share their decoder pools, and all processes what was decoded."""
    SharedPool.folder = made_once(tmp_path_factory, "decoded", Path.mkdir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.main.DecoderPool", shared_pool)
        yield
    stop_shared_pools()


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts a service in this process, with changed settings. Stops all at the end."""
    running: list[TestClient] = []

    def start(**changes: object) -> TestClient:
        app = create_app(settings.model_copy(update=changes))
        client = TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50_000))
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)
        # FastAPI caches functions of endpoints, and those of the documentation refer to their application: the
        # services of all tests would stay in memory, and collections of garbage would look through them.
        vars(client.app).clear()


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    """Client of a service with an empty store and no keys."""
    return serve()


def png(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Return a function that draws a signature of a synthetic writer as PNG.

    ``draw(writer, n)`` draws the n-th genuine signature, ``draw(writer, n, forger=1)`` a skilled forgery.
    """
    drawn: dict[tuple[int, int, int | None], bytes] = {}

    def make(writer: int, n: int, forger: int | None = None) -> bytes:
        key = (writer, n, forger)
        if key not in drawn:
            signer = Writer(writer)
            image = signer.genuine_image(n) if forger is None else signer.forgery_image(forger, n)
            drawn[key] = png(Image.fromarray(image))
        return drawn[key]

    return make


@pytest.fixture(scope="session")
def signature_data() -> Path:
    """The folder of real data. Without it, the tests that need it are skipped with a warning."""
    configured = os.environ.get("SIGNATURE_DATA")
    folder = Path(configured) if configured else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"NO REAL DATA: {folder} is not a folder; set SIGNATURE_DATA to test with real signatures"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    return folder
