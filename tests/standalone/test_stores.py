"""The stores of one machine: what is told when one of them has lost its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flashorder.infra.embedded import DataFolder
from flashorder.infra.supervision import Console
from flashorder.settings import Settings
from flashorder.standalone.stores import Stores


async def started_and_stopped(folder: DataFolder) -> None:
    settings = Settings(data_dir=folder.path, redis_url=None, database_url=None)
    stores = Stores(settings, folder, Console("warning"))
    try:
        await stores.start()
    finally:
        await stores.stop()


async def test_lost_books_beside_a_kept_store_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DataFolder(tmp_path / "data") as folder:
        await started_and_stopped(folder)
        assert "is gone" not in "".join(capsys.readouterr()), "nothing is lost on a first start"
        shutil.rmtree(folder.database_folder)
        await started_and_stopped(folder)
        told = "".join(capsys.readouterr())
        assert f"{folder.database_folder} is gone" in told
        assert f"move {folder.path} away to begin anew" in told
        await started_and_stopped(folder)
        assert "is gone" not in "".join(capsys.readouterr())
        shutil.rmtree(folder.database_folder)
        shutil.rmtree(folder.store_folder)
        folder.store_folder.mkdir()
        await started_and_stopped(folder)
        assert "is gone" not in "".join(capsys.readouterr()), "both are new: all is well"
