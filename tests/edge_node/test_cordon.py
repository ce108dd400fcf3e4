from __future__ import annotations

import asyncio

from edge_node.cordon import Cordon


async def test_a_mark_made_by_another_process_is_seen_and_lasts(tmp_path):
    node, command = Cordon(tmp_path / "node"), Cordon(tmp_path / "node")
    changed = asyncio.Event()
    watching = asyncio.create_task(node.watch(changed.set))
    assert not node.on
    command.set(on=True)
    await asyncio.wait_for(changed.wait(), 10)
    assert node.on
    assert Cordon(tmp_path / "node").on  # the next start
    changed.clear()
    command.set(on=False)
    command.set(on=False)
    await asyncio.wait_for(changed.wait(), 10)
    assert not node.on
    node.leaving = True
    assert node.on
    assert not Cordon(tmp_path / "node").on
    watching.cancel()
