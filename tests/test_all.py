"`from fastai_recipes.all import *`: what README names, and nothing that is in a notebook's way."
import builtins
import importlib
import keyword
import re
import types
from pathlib import Path

import pytest
from fastai.data.core import DataLoaders
from fastai.learner import Learner

import fastai_recipes.all as everything

README = (Path(__file__).resolve().parents[1]/'README.md').read_text(encoding='utf-8')
NAMES = set(everything.__all__)
METHODS = 'Methods of a `Learner`'
# words that people call their variables
PLAIN = set('''aside best config counts data dls folds found hardest items learner losses metric model paired preds rate rates reached
            recorded result results rows runs same scores seeds space splits start stats study targets targs values weights'''.split())


def named(*heads):
    "The names in the first column of README's tables"
    for head in heads:
        section = re.search(rf'^## {re.escape(head)}\n(.*?)(?=^## )', README, re.M | re.S)[1]
        rows = re.findall(r'^\| (.*?) \|', section, re.M)[1:]          # without the table's head
        for row in rows: yield from re.findall(r'`(\w+)(?:`|\()', row)


def methods(cls): return {n for n, f in vars(cls).items() if getattr(f, '__module__', '').startswith('fastai_recipes')}


def test_what_readme_names_is_there():
    of_learners = set(named(METHODS))
    assert of_learners == methods(Learner), 'README lists the methods of a Learner that this package adds, all of them'
    assert methods(DataLoaders) == {'weighted'} and 'dls.weighted(' in README
    functions = set(named('Callbacks', 'Over many Learners', 'Losses, splits, optimizers'))
    both = NAMES & of_learners                                         # functions that are methods too
    assert functions | both == NAMES, 'README lists what `fastai_recipes.all` gives, all of it'
    assert all(f'`{n}`' in README for n in both)


@pytest.mark.parametrize('module', ['fastai.vision.all', 'fastai.tabular.all', 'fastai.text.all', 'fastai.callback.all'])
def test_nothing_of_fastai_is_shadowed(module): assert not NAMES & set(vars(importlib.import_module(module)))


def test_no_plain_words():
    assert not NAMES & (PLAIN | set(dir(builtins)) | set(keyword.kwlist))
    assert not any(isinstance(getattr(everything, n), types.ModuleType) for n in NAMES)


def test_building_blocks_come_from_core():
    core = importlib.import_module('fastai_recipes.core')
    for p in Path(core.__file__).parent.glob('*.py'):
        if p.stem != '__init__': assert set(importlib.import_module(f'fastai_recipes.core.{p.stem}').__all__) <= set(core.__all__), p.stem
    assert {'StepCallback', 'hold_bn', 'per_sample_loss', 'Snapshot', 'LearnerFactory'} <= set(core.__all__)
    assert not NAMES & set(core.__all__)
    assert not any(isinstance(getattr(core, n), types.ModuleType) for n in core.__all__)
