"An import never goes up a floor, and never sideways between callbacks. The folders are the floors."
import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]/'fastai_recipes'
FLOORS = 'core', '', 'callbacks', 'recipes'          # from the ground up; '' is the package's own folder
OPTIONAL = {'optuna', 'timm', 'bitsandbytes', 'ray', 'nbdev', 'sklearn', 'iterstrat', 'torchvision', 'grpc', 'wandb', 'pytorch_optimizer',
            'tensorboard', 'scipy'}
DOORS = '__init__', '_modidx', 'all'                 # list what others hold
MODULES = sorted(p.relative_to(PACKAGE).with_suffix('') for p in PACKAGE.rglob('*.py') if p.stem not in DOORS)


def floor(module):
    "Of a path such as callbacks/sam, or of core itself"
    folder = module.parts[0] if len(module.parts) > 1 or module.name in FLOORS else ''
    assert folder in FLOORS, f'{module} stands in no folder of {FLOORS}'
    return FLOORS.index(folder)


def imports(tree, module):
    "Names of what a tree imports, ours from the package's name on"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        if not isinstance(node, ast.ImportFrom): continue
        folder = ['fastai_recipes', *module.parts[:len(module.parts) - node.level]] if node.level else []
        yield '.'.join([*folder, *([node.module] if node.module else [a.name for a in node.names])])


def wrong(module, tree):
    "Imports of `module` that go up, or sideways between callbacks"
    ours = {Path(*o.split('.')[1:]) for o in imports(tree, module) if o.startswith('fastai_recipes.')}
    mine, callbacks = floor(module), FLOORS.index('callbacks')
    return {o.as_posix() for o in ours if o.name == 'all' or floor(o) > mine or floor(o) == mine == callbacks}


@pytest.mark.parametrize('module', MODULES, ids=str)
def test_imports_go_down(module):
    tree = ast.parse((PACKAGE/module).with_suffix('.py').read_text())
    assert not wrong(module, tree), f'{module} imports from its own or a higher floor: {wrong(module, tree)}'
    top = {o.split('.')[0] for node in tree.body for o in imports(ast.Module([node], []), module)
           if isinstance(node, ast.Import | ast.ImportFrom)}
    assert not top & OPTIONAL, f'{top & OPTIONAL} must be imported where it is used'
    stars = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == '*']
    assert not stars, f'star imports of {stars}'


def test_every_folder_is_a_floor():
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != '__pycache__'} == set(FLOORS) - {''}


def test_rooms_do_not_import_each_other_in_a_circle():
    found = {m: {Path(*o.split('.')[1:]) for o in imports(ast.parse((PACKAGE/m).with_suffix('.py').read_text()), m)
                 if o.startswith('fastai_recipes.')} for m in MODULES}
    TopologicalSorter(found).prepare()                 # a CycleError names the circle


@pytest.mark.parametrize('module, text, found', [
    ('core/fit', 'from ..callbacks.sam import SAM', {'callbacks/sam'}),
    ('core/fit', 'from .rng import rng_state', set()),
    ('losses', 'from fastai_recipes.recipes.seeds import compare', {'recipes/seeds'}),
    ('callbacks/sam', 'def f():\n    from .averaging import EMA', {'callbacks/averaging'}),
    ('callbacks/sam', 'from ..all import EMA', {'all'}),
    ('callbacks/sam', 'from ..core.tensors import hold_bn\nfrom ..core import fit', set()),
    ('recipes/tuning', 'from .trial import Objective\nfrom ..callbacks.sam import SAM', set())])
def test_the_rule_can_fail(module, text, found): assert wrong(Path(module), ast.parse(text)) == found
