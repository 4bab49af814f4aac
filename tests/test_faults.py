"""An exception at any event, with any callback: afterwards the Learner trains on, from the weights of the last completed step."""
import pickle
import warnings
from copy import deepcopy
from functools import partial

import pytest
import torch
from fastai.callback.core import Callback
from fastai.learner import load_learner
from test_composition import CALLBACKS, FEATURES, AtNth, Both, outcome

from fastai_recipes.core import named_tensors
from fastai_recipes.testing import quiet

EVENTS = [f'{when}_{what}' for what in ('fit', 'epoch', 'train', 'batch', 'pred', 'loss', 'backward', 'step', 'validate')
          for when in ('before', 'after') if (when, what) not in (('before', 'pred'), ('before', 'loss'))]
FAULTS = [(KeyboardInterrupt, 2, -40), (KeyboardInterrupt, 5, 99), (partial(torch.OutOfMemoryError, 'CUDA out of memory'), 3, 99),
          (partial(ValueError, 'a callback of the user'), 4, -40)]      # what, the n-th time, by a callback of which order


def raises(fault):
    def now(learn): raise fault
    return now


class Steps(Callback):
    "The weights after each step that the optimizer took, and at the beginning of the fit"
    order, run_valid = -50, False
    def before_fit(self):
        if not self.learn.lock.locked(): self.take()
    def after_step(self): self.take()
    def take(self): self.weights = [p.detach().clone() for p in self.learn.model.parameters()]


class Begins(Steps):
    "The weights when the first forward pass begins"
    order, weights = 500, None
    def before_fit(self): pass
    def after_step(self): pass
    def before_batch(self):
        if self.weights is None: self.take()


@pytest.mark.parametrize('event', EVENTS)
@pytest.mark.parametrize('name', CALLBACKS)
def test_trains_on(name, event, tmp_path):
    for fault, n, order in FAULTS:
        both = Both([name], tmp_path)
        learn, steps, broke = both.learn, Steps(), False
        learn.add_cbs([steps, AtNth(event, min(n, 2) if event.endswith('fit') else n, raises(fault()), order, run_valid=True)])
        with quiet(learn):
            try:
                for _ in range(2): learn.fit(3, .05)
            except (KeyboardInterrupt, torch.OutOfMemoryError, ValueError, RuntimeError): broke = True
        if not broke: continue                      # the event does not come so often
        last, begins = steps.weights, Begins()
        learn.remove_cbs([AtNth, steps])
        with quiet(learn): learn.fit(1, .05, cbs=begins)
        where = f'{name}, {fault} at the {n}. {event}, order {order}'
        if name not in ('EMA', 'SWA') or event != 'after_fit':          # where the average comes into the model
            assert all(torch.equal(a, b) for a, b in zip(last, begins.weights, strict=True)), where
        assert all(t.isfinite().all() for t in named_tensors(learn.model).values()), where
        assert all(m.track_running_stats for m in learn.model.modules() if hasattr(m, 'track_running_stats')), where
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in learn.model.modules()), where


def test_everything_at_once(tmp_path):
    "All that may be attached together: it trains as the reference does, and pickles, copies and exports are no larger than without"
    names = [o for o in CALLBACKS if o not in ('SWA', 'AWP', "BatchLossFilter(mode='mask')", 'GradientNoise')]
    assert outcome([*names, 'GradientAccumulation', 'GradientClip'], tmp_path) is None
    sizes = {}
    for chosen in ([], names):
        both = Both(chosen, tmp_path)
        both.train()
        learn = both.learn
        learn.remove_cbs([both.batches])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            learn.export('e.pkl')
            back = load_learner(tmp_path/'e.pkl')
        with quiet(learn), quiet(back): assert torch.equal(learn.get_preds()[0], back.get_preds(dl=learn.dls.valid)[0])
        sizes[len(chosen)] = (tmp_path/'e.pkl').stat().st_size
        for copy in (deepcopy(learn), pickle.loads(pickle.dumps(learn))):
            with quiet(copy): copy.fit(1, .05)
            assert copy.cbs.map(type) == learn.cbs.map(type)
    assert sizes[len(names)] - sizes[0] < 1000*len(names), sizes
    assert set(names) < set(FEATURES)
