"""What the probe takes for heard: what the gateway on this data heard of the source that the site file names now."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from config.loading import load_site
from config.settings import resolve
from drivers.contacts.formats import CODECS
from gateway.app.commands.probe.broker import _remembered
from gateway.app.siteplan import compile_plan
from gateway.domain.liveness import Hearing, Seen
from storage.sql.store import SqlStore
from tests.support.clock import MORNING, run
from tests.support.processes import SECRETS, site_yaml


@pytest.mark.parametrize(
    ("line", "hearing"),
    [("", Hearing.HEARD), ("topic: ", Hearing.UNHEARD)],
    ids=["as it was", "another topic"],
)
def test_a_probe_with_another_topic_in_the_site_file_does_not_take_it_for_heard(
    tmp_path: Path, line: str, hearing: Hearing
) -> None:
    """Before the gateway was started on that file, too."""
    text = site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus", points=1)
    file = tmp_path / "site.yaml"
    file.write_text(text, "utf-8")
    settings = resolve(load_site(file, SECRETS), tmp_path / "data")
    (point,) = compile_plan(settings.site, CODECS).points.values()
    assert point.source is not None
    heard = Seen(heard_at=MORNING - timedelta(days=1), qos=1, source=point.source.read_as)

    async def story() -> None:
        assert settings.database_file is not None
        settings.database_file.parent.mkdir(parents=True)
        store = SqlStore(settings.database_file)
        await store.start()
        await store.write(lambda tx: tx.contacts.keep({point.id: heard}, 0.0))
        await store.stop()

    run(story())
    if line:
        topic = point.source.topic
        file.write_text(text.replace(topic, f"{topic}x"), "utf-8")
        settings = resolve(load_site(file, SECRETS), tmp_path / "data")
    assert _remembered(settings) == {point.id: hearing}
