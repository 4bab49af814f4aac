"What a user installs: the wheel's content and metadata, and the import without optional packages."
import configparser
import email
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import build_wheel

import fastai_recipes

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel(wheel_file):
    with zipfile.ZipFile(wheel_file) as z: yield z


def test_content(wheel):
    names = {n for n in wheel.namelist() if '.dist-info/' not in n}
    assert names == {p.relative_to(ROOT).as_posix() for p in (ROOT/'fastai_recipes').rglob('*.py')}


def test_metadata(wheel):
    meta = email.message_from_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith('METADATA'))))
    ini = configparser.ConfigParser(default_section='')
    ini.read(ROOT/'settings.ini')
    required = [r for r in meta.get_all('Requires-Dist') if 'extra ==' not in r]
    assert required == ['fastai>=2.8.1', 'torch>=2.4', 'timm', 'optuna', 'pandas', 'iterative-stratification']
    assert set(meta.get_all('Provides-Extra')) == set(ini['extras']) == {'dev', 'bench', 'docs', 'bnb', 'ray'}
    assert meta['Version'] == fastai_recipes.__version__
    assert 'Apache-2.0' in (meta.get('License-Expression'), meta.get('License'))
    assert meta['Keywords'] and meta.get_all('Classifier') and meta.get_all('License-File')


def test_sdist(wheel, checkout, tmp_path):
    "A wheel that is built from the sdist is the wheel that is built from here"
    sdist = 'from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])'
    subprocess.run([sys.executable, '-c', sdist, tmp_path], cwd=checkout, check=True, capture_output=True)
    with zipfile.ZipFile(build_wheel(next(tmp_path.glob('*.tar.gz')), tmp_path)) as z:
        assert {n: z.read(n) for n in z.namelist()} == {n: wheel.read(n) for n in wheel.namelist()}


def test_no_fact_stands_twice():
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    ini = configparser.ConfigParser(default_section='')
    ini.read(ROOT/'settings.ini')
    assert not set(project) & (set(ini['DEFAULT']) | {'version', 'dependencies', 'optional-dependencies'})
    assert set(project['dynamic']) - {'version'} == {'dependencies', 'optional-dependencies'} | set(ini['DEFAULT']) - {'requirements'}
    setup = (ROOT/'setup.py').read_text()
    assert not any(fact in setup for fact in ('Apache', 'fastai>', 'optuna', 'Classifier', project['description']))


def test_import_without_optional_packages():
    code = '''
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        absent = 'optuna', 'timm', 'bitsandbytes', 'ray', 'nbdev', 'pytorch_optimizer', 'accelerate', 'iterstrat'
        if name.split('.')[0] in absent: raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
try: import optuna
except ModuleNotFoundError: pass
else: raise SystemExit('the blocker does not block')
from fastai_recipes.all import *
SAM(), EMA(), WeightedSampling(), MultiClassFocalLoss(), opt_func('adamw')
'''
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)
