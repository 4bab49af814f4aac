"Each notebook is one test, run by nbdev's own runner in a process of its own."
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/'nbs').rglob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.relative_to(ROOT/'nbs').as_posix())
def test_notebook(path):
    cmd = [Path(sys.executable).with_name('nbdev-test'), path, '--n-workers', '0']
    env = os.environ | {'OMP_NUM_THREADS': '1'}   # small nets: on a busy machine threads only wait for each other
    res = subprocess.run(cmd, cwd=ROOT, env=env, capture_output=True, text=True)
    assert res.returncode == 0, f'{path.name} failed\n{res.stdout[-2000:]}\n{res.stderr[-6000:]}'
    assert 'Success' in res.stdout, res.stdout   # "no files were eligible" is no success
