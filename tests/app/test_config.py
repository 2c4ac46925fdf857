"""``python -m app config`` prints all settings without secrets; invalid settings are refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli, main
from app.cpu import usable_cores
from app.domain.api_keys import new_text, sha256
from app.domain.errors import StartRefused
from app.settings import PERMISSIVE_WEIGHTS, RELEASED_WEIGHTS, Settings, load_settings


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def print_config(*options: str) -> str:
    result = CliRunner().invoke(cli, ["config", *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_config_prints_every_setting_and_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    text = new_text()
    monkeypatch.setenv("COUNTERSIGN_BOOTSTRAP_KEY", text)
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", "postgresql://countersign:hunter2@db/countersign")
    monkeypatch.setenv("COUNTERSIGN_OTLP_ENDPOINT", "http://me:hunter3@collector:4318")
    monkeypatch.setenv("COUNTERSIGN_DEADLINE_S", "7")
    out = print_config()
    for name in Settings.model_fields:
        assert f"COUNTERSIGN_{name.upper()}=" in out
    assert "COUNTERSIGN_DEADLINE_S=7.0" in out
    assert "countersign:***@db" in out
    for secret in (text, "hunter2", "hunter3"):
        assert secret not in out


def test_config_explain_prints_descriptions() -> None:
    out = print_config("--explain")
    assert all(f"# {field.description}" in out for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"COUNTERSIGN_TARGET_FARR": "0.1"},
            ("TARGET_FARR is not a setting", "did you mean COUNTERSIGN_TARGET_FAR?"),
        ),
        ({"COUNTERSIGN_SERVICE_HOST": "10.0.0.1"}, ("SERVICE_HOST is not a setting", "enableServiceLinks")),
        ({"COUNTERSIGN_PORT": "tcp://10.0.0.1:8000"}, ("COUNTERSIGN_PORT", "whole number")),
        ({"COUNTERSIGN_SHUTDOWN_GRACE_S": "1"}, ("shutdown_grace_s", "deadline_s")),
        ({"COUNTERSIGN_MAX_UPLOAD_BYTES": "100000000"}, ("max_upload_bytes", "max_request_bytes")),
        ({"COUNTERSIGN_MAX_INFLIGHT_BYTES": "10000"}, ("max_inflight_bytes", "max_request_bytes")),
        ({"COUNTERSIGN_MIN_REFERENCES": "9", "COUNTERSIGN_MAX_REFERENCES": "3"}, ("max_references",)),
        (
            {"COUNTERSIGN_TARGET_FAR": "0.4"},
            ("COUNTERSIGN_REVIEW_FAR=0.3 must be larger than COUNTERSIGN_TARGET_FAR=0.4",),
        ),
        (
            {"COUNTERSIGN_TARGET_FAR_BANDS": "above:0.4"},
            ("COUNTERSIGN_REVIEW_FAR=0.3 must be", "COUNTERSIGN_TARGET_FAR_BANDS=above:0.4"),
        ),
        (
            {"COUNTERSIGN_TARGET_FAR_BANDS": "above:x"},
            ("COUNTERSIGN_TARGET_FAR_BANDS: the share of forgeries 'x' is not a number between 0 and 1",),
        ),
        (
            {"COUNTERSIGN_TARGET_FAR_BANDS": "x:0.1,above:0.05"},
            ("COUNTERSIGN_TARGET_FAR_BANDS: 'x' is neither an amount",),
        ),
        ({"COUNTERSIGN_OTLP_ENDPOINT": "collector"}, ("COUNTERSIGN_OTLP_ENDPOINT",)),
        *(
            (
                {"COUNTERSIGN_ROOT_PATH": path},
                (
                    f"COUNTERSIGN_ROOT_PATH: {path!r} is not a path such as /countersign: it begins with a slash",
                ),
            )
            for path in (
                "sig",
                "sig/",
                "https://bank.example/sig",
                "//sig",
                "/a//b",
                "/a b",
                "/a?b",
                "/%61",
                "/../a",
            )
        ),
    ],
)
def test_unknown_and_contradictory_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: tuple[str, ...]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartRefused) as refusal:
        load_settings()
    assert all(word in str(refusal.value) for word in words), refusal.value
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_on_the_command_line_has_the_range_of_the_setting(command: str) -> None:
    for port, limit in (("-1", "0"), ("65536", "65535")):
        result = CliRunner().invoke(cli, [command, "--port", port])
        assert result.exit_code == 2
        assert "--port" in result.output
        assert limit in result.output


@pytest.mark.parametrize(
    ("arguments", "variables", "status"),
    [
        (["config", "--nonsense"], {}, 2),
        (["nonsense"], {}, 2),
        (["config"], {"COUNTERSIGN_NONSENSE": "1"}, 2),
        (["config"], {"COUNTERSIGN_PORT": "x"}, 2),
        (["keys", "list"], {"COUNTERSIGN_SHUTDOWN_GRACE_S": "1"}, 2),
        (["keys", "list"], {"COUNTERSIGN_DATABASE_URL": "sqlite:///nowhere/store.db"}, 1),
    ],
)
def test_wrong_settings_have_the_exit_status_of_wrong_options(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variables: dict[str, str],
    status: int,
) -> None:
    monkeypatch.setattr("sys.argv", ["app", *arguments])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == status
    if variables:
        assert capsys.readouterr().err.startswith("countersign: "), "one line with the reason"


def test_unknown_settings_in_dotenv_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUNTERSIGN_DEADLINE_S=5\nOTHER_PROGRAM=1\n")
    assert load_settings().deadline_s == 5
    (tmp_path / ".env").write_text("COUNTERSIGN_DEDLINE_S=5\n")
    with pytest.raises(StartRefused, match="COUNTERSIGN_DEADLINE_S"):
        load_settings()


def test_default_workers_do_not_exceed_the_cores() -> None:
    decoders, threads = Settings(_env_file=None).workers
    assert decoders >= 1
    assert threads >= 1
    assert decoders + threads <= max(2, usable_cores())
    assert Settings(_env_file=None, reading_processes=3, network_threads=2).workers == (3, 2)


def test_default_batch_size_depends_on_the_device() -> None:
    settings = Settings(_env_file=None)
    assert (settings.batch("cpu"), settings.batch("cuda")) == (8, 32)
    assert Settings(_env_file=None, batch_size=5).batch("cuda") == 5


def test_byte_order_marks_and_carriage_returns_are_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", "sqlite:///s.sqlite3\r")
    text = new_text()
    monkeypatch.setenv("COUNTERSIGN_BOOTSTRAP_KEY", f"\ufeff{text}\r\n")
    windows_file = tmp_path / "audit.key"
    windows_file.write_bytes(b"\xef\xbb\xbf" + b"v1:" + b"k" * 43 + b"\r\n")
    unix_file = tmp_path / "plain.key"
    unix_file.write_bytes(b"v1:" + b"k" * 43 + b"\n")
    settings = load_settings()
    assert str(settings.database_url).endswith("s.sqlite3")
    assert settings.key is not None
    assert settings.key.sha256 == sha256(text)
    windows_keys, unix_keys = (
        settings.model_copy(update={"audit_key_file": path}).chain_keys()
        for path in (windows_file, unix_file)
    )
    assert windows_keys.current == unix_keys.current is not None


@pytest.mark.parametrize(
    ("path", "used"),
    [("", ""), ("/", ""), ("/sig", "/sig"), ("/sig/", "/sig"), ("/a-b/c_d.e~1", "/a-b/c_d.e~1")],
)
def test_a_slash_at_the_end_of_the_root_path_does_not_count(
    monkeypatch: pytest.MonkeyPatch, path: str, used: str
) -> None:
    monkeypatch.setenv("COUNTERSIGN_ROOT_PATH", path)
    assert load_settings().root_path == used


def test_permissive_terms_select_the_permissive_weights_unless_weights_are_set(tmp_path: Path) -> None:
    assert Settings(_env_file=None).weights == RELEASED_WEIGHTS
    assert Settings(_env_file=None, allowed_terms="permissive").weights == PERMISSIVE_WEIGHTS
    assert Settings(_env_file=None, allowed_terms="permissive", weights=tmp_path).weights == tmp_path


def test_former_setting_name_still_works_and_logs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("COUNTERSIGN_MAX_BYTES_IN_HAND", "123456789")
    with caplog.at_level("WARNING", "countersign.settings"):
        assert load_settings().max_inflight_bytes == 123_456_789
    assert "COUNTERSIGN_MAX_BYTES_IN_HAND is now COUNTERSIGN_MAX_INFLIGHT_BYTES" in caplog.text
    monkeypatch.setenv("COUNTERSIGN_MAX_INFLIGHT_BYTES", "234567890")
    assert load_settings().max_inflight_bytes == 234_567_890


def test_a_removed_setting_is_ignored_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DRIFT_WINDOW", "500")
    with caplog.at_level("WARNING", "countersign.settings"):
        load_settings()
    assert (
        "COUNTERSIGN_DRIFT_WINDOW is ignored: it is 1000 verifications and no setting any more" in caplog.text
    )


def test_a_setting_of_another_form_is_refused_without_a_regular_expression(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COUNTERSIGN_INFERENCE", "http://a:8000")
    monkeypatch.setenv("COUNTERSIGN_REVIEW_FAR", "0.01")
    with pytest.raises(StartRefused) as refused:
        load_settings()
    assert "COUNTERSIGN_INFERENCE: set local, or ray://HOST:PORT" in str(refused.value)
    assert "Value error" not in str(refused.value)
