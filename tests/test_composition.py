"""The composition matrix: training with any two of these together gives what a plain PyTorch loop gives (`reference.py`), or is refused.

A pair trains twice, with the same random numbers in both. Weights and buffers must agree to rounding in float64; where single or
half precision is part of the pair, to that.
"""
import itertools
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.schedule import fit_flat_cos, fit_one_cycle  # noqa: F401  gives Learner these methods
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.learner import Learner, load_learner
from fastai.optimizer import SGD, Adam, OptimWrapper
from fastai.torch_core import set_seed
from reference import Reference, flat_cos, one_cycle
from sklearn.datasets import load_digits
from torch import nn

from fastai_recipes.all import EMA, SAM, SWA, BatchLossFilter, Checkpoint, Rollback, SkipNonFinite, WeightedSampling
from fastai_recipes.core import named_tensors
from fastai_recipes.testing import CPUMixedPrecision, FloatLoss, quiet, toy_dls, two_groups

LR, BS, N = .05, 12, 72


class Batches(Callback):
    "What the Learner trains on, before anything is done to it"
    order, run_valid = -100, False
    def before_fit(self):
        if not self.learn.lock.locked() and not hasattr(self.learn, 'lr_finder'): self.fits.append([])
    def before_batch(self):
        if hasattr(self.learn, 'lr_finder'): return
        if self.iter == 0: self.fits[-1].append((torch.get_rng_state(), []))
        self.fits[-1][-1][1].append((self.x.clone(), self.y.clone()))


# name: what the Learner gets ('cbs', 'opt_func', ...), and what the reference does
FEATURES = {
    'SAM': dict(cbs=lambda: SAM(.05), ref=dict(sam=.05)),
    'EMA': dict(cbs=lambda: EMA(.8, warmup=False), ref=dict(ema=.8)),
    'SWA': dict(cbs=lambda: SWA(start=.5, every=2), ref=dict(swa=2)),
    'BatchLossFilter': dict(cbs=lambda: BatchLossFilter(.5), ref=dict(keep=.5)),
    "BatchLossFilter(mode='mask')": dict(cbs=lambda: BatchLossFilter(.5, mode='mask'), ref=dict(keep=.5, mask=True)),
    'SkipNonFinite': dict(cbs=SkipNonFinite, ref=dict(skip=True), poison=True),
    'Rollback': dict(cbs=lambda: Rollback(every=3)),
    'WeightedSampling': dict(cbs=lambda: WeightedSampling('sqrt')),
    'Checkpoint': dict(cbs=Checkpoint),
    'fp16': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**8), ref=dict(amp=torch.float16, scale=2.**8), dtype=torch.float32, tol=.02),
    'fp16, overflows': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**19), ref=dict(amp=torch.float16, scale=2.**19), dtype=torch.float32, tol=.02),
    'bf16': dict(cbs=lambda: CPUMixedPrecision(amp_mode='bf16'), ref=dict(amp=torch.bfloat16), dtype=torch.float32, tol=.05),
    'GradientAccumulation': dict(cbs=lambda: GradientAccumulation(3*BS), ref=dict(n_acc=3*BS)),
    'GradientClip': dict(cbs=lambda: GradientClip(.1), ref=dict(clip=.1)),
    'MixUp': dict(cbs=lambda: MixUp(.4), ref=dict(mixup=.4), dtype=torch.float32, tol=1e-4),
    'no BatchNorm': dict(bn=False),
    'staged transfer': dict(staged=True),
    'Adam': dict(opt='adam'),
    'torch AdamW': dict(opt='torch'),
    'torch.compile': dict(compile=True),
    'fit_one_cycle': dict(fit='one_cycle', tol=1e-7),        # fastai's schedules compute in float32
    'fit_flat_cos': dict(fit='flat_cos', tol=1e-7),
    'lr_find in between': dict(between=lambda learn: learn.lr_find(num_it=5, show_plot=False, suggest_funcs=None)),
    'get_preds in between': dict(between=lambda learn: learn.get_preds()),
    'export in between': dict(between=lambda learn: exported(learn)),
    'SaveModelCallback': dict(cbs=lambda: SaveModelCallback(every_epoch=True, with_opt=True), saved=True),
    'EarlyStoppingCallback': dict(cbs=lambda: EarlyStoppingCallback(patience=50)),
}
CALLBACKS = list(FEATURES)[:9]
EXCLUDES = {frozenset(o) for o in itertools.chain(itertools.combinations(('fp16', 'fp16, overflows', 'bf16'), 2), itertools.combinations(('Adam', 'torch AdamW'), 2),
            [('fit_one_cycle', 'fit_flat_cos'), ('BatchLossFilter', "BatchLossFilter(mode='mask')")])}       # one or the other
PAIRS = [p for p in itertools.combinations(FEATURES, 2) if frozenset(p) not in EXCLUDES]


def exported(learn):
    learn.export('e.pkl')
    back = load_learner(learn.path/'e.pkl')
    with quiet(learn), quiet(back): assert torch.equal(learn.get_preds()[0], back.get_preds(dl=learn.dls.valid)[0])


def net(bn):
    body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=not bn), nn.BatchNorm2d(4) if bn else nn.Identity(), nn.Tanh())
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Dropout(.2), nn.Linear(36, 10)))


class Both:
    "A Learner with some features, and the reference with the same"
    def __init__(self, names, path):
        chosen = [FEATURES[n] for n in names]
        def option(k, default=None): return next((f[k] for f in chosen if k in f), default)
        self.names, self.dtype, self.tol = names, option('dtype', torch.float64), max([f.get('tol', 1e-9) for f in chosen])
        self.staged, self.kind, self.between, self.saved = option('staged'), option('fit', 'fit'), [f['between'] for f in chosen if 'between' in f], option('saved')
        set_seed(0)
        x, y = load_digits(return_X_y=True)
        x, y = torch.tensor(x[:N]).to(self.dtype).view(-1, 1, 8, 8)/8 - 1, torch.tensor(y[:N])
        if option('poison'): x[BS + 3, 0, 2, 2] = np.nan
        dls = toy_dls(x, y, valid=(x[:BS], y[:BS]), bs=BS)
        model = net(option('bn', True)).to(self.dtype)
        self.start, self.batches, opt = deepcopy(model), Batches(), option('opt', 'sgd')
        self.batches.fits = []
        opt_func = dict(sgd=partial(SGD, mom=.9), adam=Adam, torch=partial(OptimWrapper, opt=torch.optim.AdamW))[opt]
        if option('compile'): model = torch.compile(model, backend='eager')
        loss = nn.CrossEntropyLoss()
        loss.y_int = True                                       # what fastai's MixUp asks of a loss of classes
        cbs = [f['cbs']() for f in chosen if 'cbs' in f] + [self.batches, FloatLoss()]
        self.learn = Learner(dls, model, loss_func=loss, opt_func=opt_func, wd=.01, cbs=cbs, path=path,
                             splitter=lambda m: two_groups(getattr(m, '_orig_mod', m)))
        self.ref = Reference(deepcopy(self.start), opt=opt, **{k: v for f in chosen for k, v in f.get('ref', {}).items()})
        if opt == 'torch': self.ref.torch_opt = torch.optim.AdamW(self.ref.model.parameters(), weight_decay=.01)

    def train(self):
        "Two fits; between them what the features do there"
        learn = self.learn
        with quiet(learn):
            if self.staged: learn.freeze()
            for i in range(2):
                torch.manual_seed(i); np.random.seed(i)
                if i and self.staged: learn.unfreeze()
                if self.kind == 'one_cycle': learn.fit_one_cycle(2, LR)
                elif self.kind == 'flat_cos': learn.fit_flat_cos(2, LR)
                else: learn.fit(2, LR)
                if not i:
                    for do in self.between: do(learn)
        return named_tensors(learn.model)

    def expected(self):
        "The same by the reference, on the batches that the Learner has had"
        ref, schedule = self.ref, dict(fit=lambda t: dict(lr=LR), one_cycle=one_cycle(LR), flat_cos=flat_cos(LR))[self.kind]
        for i, epochs in enumerate(self.batches.fits):
            torch.manual_seed(i)
            if self.staged:
                for p in ref.model[0][0].parameters(): p.requires_grad_(i == 1)
                ref.state.clear()
                if ref.torch_opt is not None: ref.torch_opt.state.clear()
            ref.fit(epochs, schedule)
        return named_tensors(ref.model)

    def distance(self):
        "Of the weights and buffers, in units of how far training has moved them"
        ours, theirs, start = self.train(), self.expected(), named_tensors(self.start)
        assert ours.keys() == theirs.keys()
        if {'SWA', 'WeightedSampling'} <= set(self.names):     # the statistics are of new draws
            for n in ours:
                if 'running' in n: theirs[n].copy_(ours[n])
        far = {n: (theirs[n].double() - start[n].double()).norm() for n in ours}
        off = {n: (ours[n].double() - theirs[n].double()).norm() for n in ours}
        assert all(o.isfinite() for o in off.values())
        assert sum(far.values()) > .05                          # something was learned
        return max((off[n]/max(far[n], .01)).item() for n in ours)


def outcome(names, path):
    "What becomes of features together: None if they agree with the reference, or the words with which they are refused"
    both = Both(names, path)
    before = {n: t.clone() for n, t in named_tensors(both.learn.model).items()}
    try: distance = both.distance()
    except ValueError as e:
        assert all(torch.equal(t, before[n]) for n, t in named_tensors(both.learn.model).items()), 'refused after weights have changed'
        return str(e)
    assert distance < both.tol, f'{names}: off by {distance:.2g} of the way that training has gone'


@pytest.mark.parametrize('name', FEATURES)
def test_alone(name, tmp_path): assert outcome([name], tmp_path) is None


@pytest.mark.parametrize('pair', PAIRS, ids=' + '.join)
def test_pair(pair, tmp_path):
    refused = outcome(pair, tmp_path)
    if refused: assert frozenset(pair) == frozenset(('EMA', 'SWA')), f'{pair} is refused: {refused}'
