"Real processes, killed with SIGKILL and resumed: they end as one that was never killed, to the bit."
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER, STEPS = Path(__file__).with_name('checkpoint_worker.py'), 63


def work(folder, at=0, how='step', every='7'):
    return subprocess.run([sys.executable, WORKER, folder, str(at), how, str(every)], capture_output=True, text=True, timeout=1800)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    res = work(folder)
    assert res.returncode == 0, res.stderr[-3000:]
    return torch.load(folder/'end.pt')


def same(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list): return len(a) == len(b) and all(map(same, a, b))
    return a == b


rng = random.Random(4)
KILLS = [(rng.randrange(1, STEPS), 'step', 7), (rng.randrange(22, STEPS), 'step', 'epoch'),
         (rng.randrange(1, 9), 'write', 7), (3, 'write', 'epoch')]


@pytest.mark.parametrize('at, how, every', KILLS, ids=lambda o: str(o))
def test_killed(whole, tmp_path, at, how, every):
    assert work(tmp_path, at, how, every).returncode == -signal.SIGKILL
    res = work(tmp_path, 0, 'resumed' if (tmp_path/'models'/'checkpoint.pth').exists() else 'step', every)
    assert res.returncode == 0, res.stderr[-3000:]
    end = torch.load(tmp_path/'end.pt')
    for k in whole: assert same(whole[k], end[k]), f'{k} differs after a kill at {at} ({how}, every {every})'
    assert ('call the same fit again' in res.stdout) == ((how, at) != ('write', 1) and (how == 'write' or at >= (7 if every == 7 else 21)))


def test_killed_twice(whole, tmp_path):
    for at in (20, 45): assert work(tmp_path, at, 'step' if at == 20 else 'resumed').returncode == -signal.SIGKILL
    assert work(tmp_path, 0, 'resumed').returncode == 0
    assert all(same(v, torch.load(tmp_path/'end.pt')[k]) for k, v in whole.items())
