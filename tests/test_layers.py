"An import never goes up a floor, and never sideways between callbacks."
import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]/'fastai_recipes'
FLOORS = [{'core', 'losses', 'splits', 'testing'},
          {'sam', 'averaging', 'batch_filter', 'guards', 'weighting', 'checkpoint', 'awp'},
          {'batch_size', 'schedules', 'transfer', 'optimizers', 'tuning', 'ensemble', 'diagnosis', 'sanity'}]
OPTIONAL = {'optuna', 'timm', 'bitsandbytes', 'ray', 'nbdev', 'sklearn', 'iterstrat', 'torchvision', 'grpc', 'wandb', 'pytorch_optimizer',
            'tensorboard', 'scipy'}
MODULES = sorted(p.stem for p in PACKAGE.glob('*.py') if p.stem not in ('__init__', '_modidx', 'all'))


def floor(module):
    found = [i for i, names in enumerate(FLOORS) if module in names]
    assert len(found) == 1, f'{module} stands on no floor; name it in FLOORS'
    return found[0]


def imports(tree):
    "Top-level names and those of our modules that a tree imports"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        if isinstance(node, ast.ImportFrom): yield node.module if not node.level else f'fastai_recipes.{node.module}'


def wrong(module, tree):
    "Imports of `module` that go up, or sideways between callbacks or recipes"
    ours = {o.split('.')[1] for o in imports(tree) if o.startswith('fastai_recipes.')}
    below = floor(module)
    return {o for o in ours if o == 'all' or floor(o) > below or (floor(o) == below and below == 1)}


@pytest.mark.parametrize('module', MODULES)
def test_imports_go_down(module):
    tree = ast.parse((PACKAGE/f'{module}.py').read_text())
    assert not wrong(module, tree)
    top = {o.split('.')[0] for node in tree.body for o in imports(ast.Module([node], []))
           if isinstance(node, ast.Import | ast.ImportFrom)}
    assert not top & OPTIONAL, f'{top & OPTIONAL} must be imported where it is used'
    stars = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == '*']
    assert not stars, f'star imports of {stars}'


def test_the_rule_can_fail():
    assert wrong('core', ast.parse('from fastai_recipes.sam import SAM')) == {'sam'}
    assert wrong('sam', ast.parse('def f():\n    from fastai_recipes.averaging import EMA')) == {'averaging'}
    assert wrong('sam', ast.parse('from fastai_recipes.core import hold_bn')) == set()
