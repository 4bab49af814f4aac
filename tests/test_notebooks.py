"""Each notebook is one test, run by nbdev's own runner in a process of its own.

The processes are forked from one that has imported the large packages below us, and nothing that gives a class new methods:
with some seventy notebooks the imports would take longer than the tests.
"""
import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/'nbs').rglob('*.ipynb'))
PROCESSES = multiprocessing.get_context('forkserver')
PROCESSES.set_forkserver_preload(['torch', 'torchvision', 'pandas', 'matplotlib.pyplot', 'scipy.stats', 'sklearn.datasets', 'nbdev.test',
                                  'fastai.learner'])


def run(path, log):
    "Run a notebook; what it prints goes into a file"
    import torch
    from nbdev.test import test_nb
    for stream in (1, 2): os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    torch.set_num_threads(1)                      # small nets: on a busy machine threads only wait for each other
    multiprocessing.set_start_method('fork', force=True)       # of its DataLoaders: as in an ordinary process
    ok, _ = test_nb(path, skip_flags=['cuda', 'slow'], basepath=ROOT)
    sys.exit(0 if ok else 1)


def failed(path, folder):
    "What a notebook printed if it failed, else None"
    process = PROCESSES.Process(target=run, args=(path, folder/'log'))
    process.start()
    process.join()
    if not process.exitcode: return
    log = folder/'log'
    return log.read_text(errors='replace')[-8000:] if log.exists() else f'exit {process.exitcode}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.relative_to(ROOT/'nbs').as_posix())
def test_notebook(path, tmp_path):
    found = failed(path, tmp_path)
    assert found is None, f'{path.name} failed\n{found}'


def test_a_failure_is_seen(tmp_path):
    cell = dict(cell_type='code', id='a', metadata={}, outputs=[], execution_count=None, source='1/0')
    kernel = dict(display_name='python3', language='python', name='python3')
    text = json.dumps(dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5))
    (tmp_path/'fails.ipynb').write_text(text)
    assert 'ZeroDivisionError' in failed(tmp_path/'fails.ipynb', tmp_path)
