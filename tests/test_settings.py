"""What the environment may say, and how it is told when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashorder.kernel.errors import DatabaseUnavailable, Misconfigured, StoreUnavailable
from flashorder.settings import Settings, load_settings

REDIS = "FLASHORDER_REDIS_URL"
DATABASE = "FLASHORDER_DATABASE_URL"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (REDIS, "nonsense"),
        (REDIS, "redis:nonsense"),
        (REDIS, "redis://:hidden-word@127.0.0.1:notaport/0"),
        (REDIS, "redis://:hidden-word/more@127.0.0.1:6379/0"),
        (REDIS, "http://127.0.0.1"),
        (REDIS, "valkey://127.0.0.1"),
        (REDIS, "unix://"),
        (DATABASE, "mysql://u:hidden-word@127.0.0.1/shop"),
        (DATABASE, "nonsense"),
        (DATABASE, "postgresql://u:hidden-word@127.0.0.1:notaport/shop"),
        (DATABASE, "unix:///tmp/socket"),
    ],
)
def test_what_is_no_url_of_a_store_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(Misconfigured) as refused:
        load_settings()
    assert name in refused.value.detail
    assert ("redis://" if name == REDIS else "postgresql://") in refused.value.detail
    assert "hidden-word" not in refused.value.detail


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (REDIS, "redis://store"),
        (REDIS, "redis://user:word@[::1]:6379/2"),
        (REDIS, "rediss://store.example:6380/0?ssl_cert_reqs=required"),
        (REDIS, "unix://:word@/tmp/store.sock?db=0"),
        (DATABASE, "postgres://app:word@db.example/shop?sslmode=require"),
        (DATABASE, "postgresql://one:5432,two:5433/shop"),
        (DATABASE, "postgresql:///shop?host=/tmp"),
    ],
)
def test_every_form_that_the_clients_read_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    settings = load_settings()
    taken = settings.redis_url if name == REDIS else settings.database_url
    assert taken is not None
    assert taken.get_secret_value() == url


def test_stores_that_are_nowhere_are_away_and_it_is_said_where_was_looked(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / ".data")
    with pytest.raises(StoreUnavailable) as store:
        settings.required_redis_url()
    with pytest.raises(DatabaseUnavailable) as database:
        settings.required_database_url()
    for failure, name in ((store, REDIS), (database, DATABASE)):
        assert name in failure.value.detail
        assert f"no running flashorder up in {tmp_path / '.data'} (" in failure.value.detail
        assert "FLASHORDER_DATA_DIR" in failure.value.detail


def test_a_file_fills_in_what_the_environment_leaves_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "flashorder.env"
    file.write_text("# of this machine\nFLASHORDER_SHARDS=3\nFLASHORDER_PORT=99\nOTHER=1\n")
    monkeypatch.setenv("FLASHORDER_ENV_FILE", str(file))
    monkeypatch.setenv("FLASHORDER_PORT", "8080")
    settings = load_settings()
    assert (settings.shards, settings.port) == (3, 8080)
    file.write_text("FLASHORDER_SHARDS=many\n")  # read anew each time
    with pytest.raises(Misconfigured, match="FLASHORDER_SHARDS"):
        load_settings()


def test_a_file_that_is_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHORDER_ENV_FILE", str(tmp_path / "none.env"))
    with pytest.raises(Misconfigured, match=r"FLASHORDER_ENV_FILE: .*none\.env is no file"):
        load_settings()
