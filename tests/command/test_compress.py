"""What `compress` measures on data is what `eval` says of the codes that it writes, read in the same way."""

import pytest
import tiny
from support import smidgen


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    smidgen.tune(tiny.model(), tiny.data(), run, max_steps=6, save_every=6, learning_rate=3e-3)
    return run / "adapter"


@pytest.mark.parametrize("template", ["auto", "none"])
def test_a_tuned_alpha_has_the_loss_that_eval_finds(adapter, tmp_path, template):
    data = {"data": tiny.data(8, "prompt", 9), "chat_template": template}
    out = tmp_path / "small"
    said = smidgen.read_json(smidgen.ok("compress", adapter, out=out, base=tiny.model(), density=0.5, alpha="tuned", json=True, **data).stdout)
    best = min(row["loss"] for row in said["tried"])
    found = smidgen.read_json(smidgen.ok("eval", model=tiny.model(), adapter=out, json=True, **data).stdout)
    assert found["loss"] == pytest.approx(best, rel=1e-4)


def test_settings_of_data_that_is_not_there_are_refused(adapter, tmp_path):
    done = smidgen.call("compress", adapter, out=tmp_path / "small", chat_template="none")
    assert done.returncode == 2 and "--chat-template" in done.stderr and "--data" in done.stderr
    assert not (tmp_path / "small").exists()
