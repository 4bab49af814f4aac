"The Kaggle kernel in an environment like Kaggle's: from an attached wheel, without network, without what is not there."
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

pytestmark = pytest.mark.xdist_group('kaggle')   # one environment for all
ROOT = Path(__file__).resolve().parents[1]
KAGGLE = ROOT/'kaggle'
ABSENT = ('bitsandbytes', 'ray', 'nbdev', 'pytorch_optimizer', 'iterstrat', 'iterative_stratification', 'fastai_recipes', '__editable__')
OFFLINE = """
import sys
def _offline(event, args):
    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname'): raise OSError(f'no network: {event} {args}')
sys.addaudithook(_offline)
"""
RUN = """
import json, sys, warnings
import matplotlib
matplotlib.use('agg')
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))['cells']:
    if cell['cell_type'] == 'code': shell.run_cell(''.join(cell['source'])).raise_error()
import fastai_recipes
print('ran with', fastai_recipes.__file__)
"""


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    "Of an environment with the packages that are installed here, but for those that Kaggle lacks, and without network"
    env = tmp_path_factory.mktemp('env')
    venv.create(env, with_pip=True)
    site = next(env.glob('lib/python*/site-packages'))
    for folder in map(Path, sys.path):
        if folder.name not in ('site-packages', 'dist-packages') or not folder.is_dir(): continue
        for o in folder.iterdir():
            if o.name.startswith(ABSENT) or o.name.endswith('.pth') or o.name == '__pycache__' or (site/o.name).exists(): continue
            (site/o.name).symlink_to(o)
    (site/'sitecustomize.py').write_text(OFFLINE)
    return env/'bin'/'python'


def sh(*cmd, cwd, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'PIP_'))}
    return subprocess.run(list(map(str, cmd)), cwd=cwd, capture_output=True, text=True, env=env | {'OMP_NUM_THREADS': '1'}, **kwargs)


def without_network():
    "A prefix that leaves no network at all, where this machine allows it; the environment refuses by itself in any case"
    cmd = ['unshare', '-rn']
    return cmd if shutil.which('unshare') and subprocess.run([*cmd, 'true'], capture_output=True).returncode == 0 else []


def test_environment(python, tmp_path):
    "The environment lacks what it shall lack, has what it shall have, and refuses the network"
    for name in ('bitsandbytes', 'ray', 'nbdev', 'iterstrat', 'fastai_recipes'):
        assert 'ModuleNotFoundError' in sh(python, '-c', f'import {name}', cwd=tmp_path).stderr, name
    res = sh(python, '-W', 'ignore', '-c', 'import fastai.tabular.all, timm, optuna, pandas, sklearn', cwd=tmp_path)
    assert res.returncode == 0, res.stderr
    assert 'no network' in sh(python, '-c', "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')", cwd=tmp_path).stderr


def test_kernel(python, wheel_file, tmp_path):
    "Laid out as on Kaggle: data under input/, the kernel in working/"
    (tmp_path/'input'/'fastai-recipes-wheel').mkdir(parents=True)
    shutil.copy(wheel_file, tmp_path/'input'/'fastai-recipes-wheel')
    (tmp_path/'working').mkdir()
    (tmp_path/'run.py').write_text(RUN)
    meta = json.loads((KAGGLE/'kernel-metadata.json').read_text())
    res = sh(*without_network(), python, '-W', 'ignore', tmp_path/'run.py', KAGGLE/meta['code_file'], cwd=tmp_path/'working')
    assert res.returncode == 0, f'{res.stdout[-3000:]}\n{res.stderr[-3000:]}'
    assert f'ran with {python.parents[1]}' in res.stdout
    submission = pd.read_csv(tmp_path/'working'/'submission.csv')
    assert list(submission.columns) == ['id', 'label'] and len(submission) == 899 and submission.label.between(0, 9).all()
    target = load_digits().target
    assert (submission.label == train_test_split(target, test_size=.5, stratify=target, random_state=0)[1]).mean() > .9


def test_metadata():
    "Kaggle's files agree with each other, and the kernel asks for no internet"
    kernel, dataset = (json.loads((KAGGLE/o).read_text()) for o in ('kernel-metadata.json', 'wheel/dataset-metadata.json'))
    assert kernel['dataset_sources'] == [dataset['id']] and kernel['enable_internet'] == 'false'
    assert (kernel['language'], kernel['kernel_type']) == ('python', 'notebook')
    assert kernel['title'].lower().replace(',', '').replace(' ', '-') == kernel['id'].split('/')[1], 'Kaggle makes the address of the title'
    assert dataset['licenses'] == [{'name': 'Apache 2.0'}] and 6 <= len(dataset['title']) <= 50 and 20 <= len(dataset['subtitle']) <= 80
