"What every exported callback promises, found by itself: a new callback is tested from its first day."
import importlib
import inspect
import io
import pickle
import re
import warnings
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import fastai.callback.all  # noqa: F401  gives Learner `fit_one_cycle`, `lr_find` and `fine_tune`
from fastai.callback.core import Callback
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from fastcore.docments import docments

from fastai_recipes.testing import copied, digits_learner, quiet, same

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT/'fastai_recipes'
MODULES = [importlib.import_module('.'.join(p.relative_to(ROOT).with_suffix('').parts)) for p in sorted(PACKAGE.rglob('*.py'))
           if p.stem not in ('__init__', '_modidx', 'all')]
PUBLIC = {f'{m.__name__}.{n}': getattr(m, n) for m in MODULES for n in m.__all__}
BASES = {'StepCallback', 'SecondPass', 'WeightAverage', 'ResumedFit'}     # classes to derive from; one that `resume` adds
CALLBACKS = [c for n, c in PUBLIC.items() if inspect.isclass(c) and issubclass(c, Callback) and not n.startswith('fastai_recipes.testing')
             and c.__name__ not in BASES]


# what these take has no one type; the comment says what it may be
ANY_TYPE = ('self', 'value', 'loss_func', 'pred', 'cbs', 'a', 'b', 'o', 'args', 'storage', 'study', 'teacher', 'items', 'dl')


def ids(c): return c.__name__


def test_found(): assert {'SAM', 'EMA'} <= {c.__name__ for c in CALLBACKS}


def functions():
    "Public functions, constructors and public methods; not the events, whose names say what they are"
    for name, o in PUBLIC.items():
        if inspect.isfunction(o): yield name, o
        elif inspect.isclass(o):
            for k, f in vars(o).items():
                if inspect.isfunction(f) and (k == '__init__' or not re.match('_|before_|after_', k)): yield f'{name}.{k}', f


@pytest.mark.parametrize('name, func', list(functions()), ids=lambda o: o if isinstance(o, str) else '')
def test_documented(name, func):
    "Docments on every parameter and on what is returned, and a docstring"
    func = inspect.unwrap(func)
    docs = docments(func, full=True, returns=True)
    sig = inspect.signature(func)
    missing = [p for p, v in sig.parameters.items() if p != 'self' and v.kind != v.VAR_KEYWORD and not docs[p].docment]
    if any(v.kind == v.VAR_KEYWORD for v in sig.parameters.values()) and not re.search(r'\*\*\w+,? *# \w', inspect.getsource(func)):
        missing.append('**')
    assert not missing, f'{name}: no comment on {missing}'
    untyped = [p for p, v in sig.parameters.items() if p not in ANY_TYPE and v.annotation is v.empty and v.kind != v.VAR_KEYWORD]
    assert not untyped, f'{name}: no type on {untyped}'
    if not name.endswith('__init__'): assert inspect.getdoc(func), f'{name}: no docstring'
    if sig.return_annotation is not sig.empty: assert docs['return'].docment, f'{name}: what it returns is not documented'


@pytest.mark.parametrize('cls', CALLBACKS, ids=ids)
def test_named(cls):
    "A bare noun that clashes with nothing of a Learner, in the README's table"
    name = cls().name
    assert not cls.__name__.endswith('Callback')
    assert not hasattr(Learner, name)
    table = (ROOT/'README.md').read_text()
    assert re.search(rf'^\| .*`{cls.__name__}\(.*ready', table, re.M), f'{cls.__name__} is not in the table of callbacks'


@pytest.mark.parametrize('cls', CALLBACKS, ids=ids)
def test_life_of_a_learner(cls, tmp_path):
    "fit, fit, lr_find, get_preds, save, load, export, load_learner"
    set_seed(0)
    learn = digits_learner(path=tmp_path, dropout=.1, cbs=cls())
    with quiet(learn):
        learn.fit_one_cycle(2, 1e-2)
        first = learn.validate()
        learn.fit_one_cycle(2, 1e-2)
        assert learn.final_record[2] > .9 and learn.validate()[0] < first[0]
        state = copied(learn.model)
        learn.lr_find(num_it=10, show_plot=False)
        assert same(learn.model, state)
        learn.save('m')
        learn.fit(1, 1e-2)
        learn.load('m')
        assert same(learn.model, state)
        preds, _ = learn.get_preds()
        learn.export('e.pkl')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            back = load_learner(tmp_path/'e.pkl')
        with quiet(back): assert torch.equal(back.get_preds(dl=learn.dls.valid)[0], preds)
        learn.fit(1, 1e-2)                                  # and it trains on after the export
        learn.fine_tune(1)


@pytest.mark.parametrize('cls', CALLBACKS, ids=ids)
def test_exported_size(cls, tmp_path):
    "An exported file does not grow with the callback's state"
    sizes = []
    for cbs in ([], [cls()]):
        set_seed(0)
        learn = digits_learner(path=tmp_path, cbs=cbs)
        with quiet(learn): learn.fit(1)
        learn.export('e.pkl')
        sizes.append((tmp_path/'e.pkl').stat().st_size)
    assert sizes[1] - sizes[0] < 1500, sizes


@pytest.mark.parametrize('cls', CALLBACKS, ids=ids)
def test_no_trace(cls):
    "Added, used and removed: the Learner has the attributes and hooks that it had, and trains as one that never had it"
    set_seed(0)
    learn = digits_learner(cbs=[])
    with quiet(learn): learn.fit(1)
    before, methods = set(vars(learn)), dict(vars(Learner))
    cb = cls()
    learn.add_cb(cb)
    with quiet(learn): learn.fit(1, 1e-2)
    learn.remove_cb(cb)
    assert set(vars(learn)) == before and dict(vars(Learner)) == methods
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in learn.model.modules())
    other = digits_learner(cbs=[])
    other.model.load_state_dict(learn.model.state_dict())
    losses = []
    for one in (learn, other):
        set_seed(1)
        one.opt = None
        for dl in one.dls.loaders: dl.rng.seed(1)
        with quiet(one): one.fit(1, 1e-2)
        losses.append(one.recorder.losses)
    assert losses[0] == losses[1]


@pytest.mark.parametrize('cls', CALLBACKS, ids=ids)
def test_copies(cls):
    "pickle and deepcopy of a callback that was used"
    set_seed(0)
    learn = digits_learner(cbs=cls())
    with quiet(learn): learn.fit(1)
    for copy in (deepcopy(learn), pickle.load(io.BytesIO(pickle.dumps(learn)))):
        assert copy.cbs.map(type) == learn.cbs.map(type)
        with quiet(copy): copy.fit(1, 1e-2)
