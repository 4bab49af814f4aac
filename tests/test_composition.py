"""The composition matrix: training with any two of these together gives what a plain PyTorch loop gives (`reference.py`), or is refused.

Each combination is trained twice, by a Learner and by the reference, with the same random numbers. Weights and buffers must agree to
rounding. How far rounding carries is measured, not assumed: the reference trains again with its weights moved by their last bit in
each step, and the Learner may be a few times as far away as that. Two processes (`composition_worker.py`) do so too.
`python tests/test_composition.py` writes the page nbs/composition.md, and a test fails if it differs.
"""
import io
import itertools
import json
import math
import subprocess
import sys
import tempfile
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.rnn import ModelResetter, RNNCallback
from fastai.callback.schedule import fit_flat_cos, fit_one_cycle  # noqa: F401  gives Learner these methods
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.learner import Learner, load_learner
from fastai.optimizer import SGD, Adam, OptimWrapper
from fastai.tabular.model import TabularModel
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config
from fastai.text.models.core import get_text_classifier
from fastai.torch_core import rank_distrib, set_seed
from fastcore.foundation import L
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from reference import BN, Reference, up
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from torch import nn

from fastai_recipes.all import (AWP, EMA, SAM, SWA, BatchLossFilter, Checkpoint, Fp16Guard, GradientNoise, LayerStats, Rollback,
                                SkipNonFinite, WeightedSampling)
from fastai_recipes.core import in_all_processes, named_tensors
from fastai_recipes.testing import CPUMixedPrecision, FloatLoss, quiet, toy_dls

LR, WD, BS, N = .05, .01, 12, 72
EXACT, MARGIN, FLOAT32 = 1e-10, 10, torch.finfo(torch.float32).eps
PAGE = Path(__file__).resolve().parents[1]/'nbs'/'composition.md'
X, Y = (torch.tensor(o[:N]) for o in load_digits(return_X_y=True))


class Batches(Callback):
    "What the Learner trains on, before anything is done to it"
    order, run_valid = -100, False
    def __init__(self): self.fits, self.trained = [], []
    def before_fit(self):
        if self.learn.lock.locked() or hasattr(self.learn, 'lr_finder'): return
        self.fits.append([])
        self.trained.append([p.requires_grad for p in self.learn.model.parameters()])
    def before_batch(self):
        if hasattr(self.learn, 'lr_finder'): return
        if self.iter == 0: self.fits[-1].append((torch.get_rng_state(), []))
        self.fits[-1][-1][1].append((tuple(o.clone() for o in self.xb), self.y.clone()))


# name: what the Learner gets ('cbs', 'opt_func', ...), and what the reference does
FEATURES = {
    'SAM': dict(cbs=lambda: SAM(.05), ref=dict(sam=.05)),
    'EMA': dict(cbs=lambda: EMA(.95, warmup=False), ref=dict(ema=.95)),
    'SWA': dict(cbs=lambda: SWA(start=.5, every=2), ref=dict(swa=2)),
    'BatchLossFilter': dict(cbs=lambda: BatchLossFilter(.5), ref=dict(keep=.5)),
    "BatchLossFilter(mode='mask')": dict(cbs=lambda: BatchLossFilter(.5, mode='mask'), ref=dict(keep=.5, mask=True)),
    'SkipNonFinite': dict(cbs=SkipNonFinite, ref=dict(skip=True), poison=True),
    'Rollback': dict(cbs=lambda: Rollback(every=3)),
    'WeightedSampling': dict(cbs=lambda: WeightedSampling(torch.where(Y < 5, 4., 1.))),
    'Checkpoint': dict(cbs=lambda: Checkpoint(every=2)),
    'AWP': dict(cbs=lambda: AWP(.02), ref=dict(awp=.02)),
    'Fp16Guard': dict(cbs=Fp16Guard, ref=dict(keep_scale=True), min_eps=1e-6),
    'GradientNoise': dict(cbs=lambda: GradientNoise(every=3)),
    'LayerStats': dict(cbs=lambda: LayerStats(every=3)),
    'fp16': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**8), ref=dict(amp=torch.float16, scale=2.**8), dtype=torch.float32, fp16=True),
    'fp16, overflows': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**20), ref=dict(amp=torch.float16, scale=2.**20),
                            dtype=torch.float32, fp16=True),
    'bf16': dict(cbs=lambda: CPUMixedPrecision(amp_mode='bf16'), ref=dict(amp=torch.bfloat16), dtype=torch.float32),
    'GradientAccumulation': dict(cbs=lambda: GradientAccumulation(3*BS), ref=dict(n_acc=3*BS)),
    'GradientClip': dict(cbs=lambda: GradientClip(.1), ref=dict(clip=.1)),
    'MixUp': dict(cbs=lambda: MixUp(.4), ref=dict(mixup=.4), dtype=torch.float32),
    'no BatchNorm': dict(bn=False),
    'other statistics': dict(model=lambda: net(True, Centre())),
    'timm transformer': dict(model=lambda: timm.create_model('test_vit', img_size=8, patch_size=4, in_chans=1, num_classes=10)),
    'tabular model': dict(model=lambda: TabularModel([(5, 3)], 63, 10, [20], ps=.1, embed_p=.1),
                          data=lambda x: ((x[:, 0, 0, :1] > 0).long(), x.flatten(1)[:, 1:])),
    'AWD-LSTM classifier': dict(model=lambda: text_classifier(), data=lambda x: (((x.flatten(1) + 1)*8).long()[:, 8:40],),
                                cbs=lambda: [ModelResetter(), RNNCallback()], clean=True),
    'staged transfer': dict(staged=True),
    'Adam': dict(opt='adam'),
    'torch AdamW': dict(opt='torch'),
    'torch.compile': dict(compile=True),
    'fit_one_cycle': dict(fit='one_cycle'),
    'fit_flat_cos': dict(fit='flat_cos'),
    'fine_tune': dict(fit='fine_tune'),
    'lr_find in between': dict(between=lambda learn: learn.lr_find(num_it=5, show_plot=False, suggest_funcs=None)),
    'get_preds in between': dict(between=lambda learn: learn.get_preds()),
    'export in between': dict(between=lambda learn: exported(learn)),
    'SaveModelCallback': dict(cbs=lambda: SaveModelCallback(every_epoch=True, with_opt=True)),
    'EarlyStoppingCallback': dict(cbs=lambda: EarlyStoppingCallback(patience=50)),
}
CALLBACKS = list(FEATURES)[:list(FEATURES).index('fp16')]
ONE_OF = [('fp16', 'fp16, overflows', 'bf16'), ('Adam', 'torch AdamW'), ('fit_one_cycle', 'fit_flat_cos', 'fine_tune'),
          ('staged transfer', 'fine_tune'),
          ('no BatchNorm', 'other statistics', 'timm transformer', 'tabular model', 'AWD-LSTM classifier'),
          ('BatchLossFilter', "BatchLossFilter(mode='mask')")]
CANNOT = [('MixUp', 'tabular model'), ('MixUp', 'AWD-LSTM classifier'),        # fastai's mixes no whole numbers
          ('fp16', 'AWD-LSTM classifier'), ('fp16, overflows', 'AWD-LSTM classifier')]   # on a CPU torch has no LSTM in float16
EXCLUDES = {frozenset(o) for names in ONE_OF for o in itertools.combinations(names, 2)} | {frozenset(o) for o in CANNOT}
PAIRS = [p for p in itertools.combinations(FEATURES, 2) if frozenset(p) not in EXCLUDES]


def exported(learn):
    learn.export('e.pkl')
    back = load_learner(learn.path/'e.pkl')
    with quiet(learn), quiet(back): assert torch.equal(learn.get_preds()[0], back.get_preds(dl=learn.dls.valid)[0])


class Centre(nn.Module):
    "A layer with a statistic of its own that each training pass moves"
    def __init__(self):
        super().__init__()
        self.register_buffer('running', torch.zeros(36))
    def forward(self, x):
        if self.training: self.running.lerp_(x.detach().mean(0).to(self.running.dtype), .1)
        return x - self.running


def net(bn, *layers):
    body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=not bn), nn.BatchNorm2d(4) if bn else nn.Identity(), nn.Tanh())
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), *layers, nn.Dropout(.2), nn.Linear(36, 10)))


def text_classifier():
    config = awd_lstm_clas_config | dict(emb_sz=8, n_hid=12, n_layers=2)
    return get_text_classifier(AWD_LSTM, 20, 10, seq_len=8, config=config, lin_ftrs=[12], max_len=32)


def groups(model):
    "The last child's parameters, and all others, those of the model itself among them"
    head = list(list(getattr(model, '_orig_mod', model).children())[-1].parameters())
    return [[p for p in model.parameters() if not any(p is o for o in head)], head]


def cos(a, b, t): return a + (1 - math.cos(math.pi*t))*(b - a)/2


def one_cycle(lr, pct=.25, div=25):
    "As fastai's: from the part of the training that is done to the learning rate and the momentum"
    def at(t):
        if t < pct: return cos(lr/div, lr, t/pct), cos(.95, .85, t/pct)
        return cos(lr, lr/1e5, (t - pct)/(1 - pct)), cos(.85, .95, (t - pct)/(1 - pct))
    return at


# of each fit that a call makes; rates may be one for each group
SCHEDULES = dict(fit=[lambda t: (LR, None)], one_cycle=[one_cycle(LR)],
                 flat_cos=[lambda t: (LR if t < .75 else cos(LR, LR/1e5, (t - .75)/.25), None)],
                 fine_tune=[one_cycle(np.array([LR/10, LR]), .99), one_cycle(np.array([LR/200, LR/2]), .3, 5)])


def options(schedule, rounding=None):
    "What an optimizer's group gets; fastai computes its schedules in float32, whose last bit `rounding`, a generator, moves"
    def at(t, group):
        lr, mom = schedule(t)
        if rounding: lr, mom = (None if o is None else o*(1 + FLOAT32*up(rounding, ()).item()) for o in (lr, mom))
        found = dict(lr=float(np.broadcast_to(lr, 2)[group['of']]))
        if mom is not None: found |= dict(momentum=mom) if 'momentum' in group else dict(betas=(mom, group['betas'][1]))
        return found
    return at


class DecoupledSGD(torch.optim.SGD):
    "With the weight decay that fastai's has (Loshchilov and Hutter 2019)"
    def step(self):
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is not None: p.data.mul_(1 - group['lr']*group['decay'])
        super().step()


def optimizer(kind, model, eps=1e-8):
    "PyTorch's, with fastai's defaults: no weight decay for biases and normalisation"
    spared = {id(p) for m in model.modules() for k, p in m._parameters.items() if isinstance(m, (BN, nn.LayerNorm)) or k == 'bias'}
    if kind == 'torch': spared = ()
    parts = [dict(params=[p for p in group if (id(p) in spared) == spare], weight_decay=0. if spare else WD, of=i)
             for i, group in enumerate(groups(model)) for spare in (False, True)]
    if kind == 'torch': return torch.optim.AdamW(parts, LR, eps=eps)
    if kind == 'adam': opt = torch.optim.AdamW(parts, LR, betas=(.9, .99), eps=1e-5)
    else: opt = DecoupledSGD([o | dict(decay=o['weight_decay'], weight_decay=0) for o in parts], LR, momentum=.9)
    opt.zero_grad = partial(opt.zero_grad, set_to_none=False)             # and they do step on gradients of zero
    return opt


class Both:
    "A Learner with some features, and the reference with the same"
    def __init__(self, names, path, distributed=False):
        chosen = [FEATURES[n] for n in names]
        def option(k, default=None): return next((f[k] for f in chosen if k in f), default)
        self.names, self.dtype = names, option('dtype', torch.float64)
        self.staged, self.kind, self.between = option('staged'), option('fit', 'fit'), [f['between'] for f in chosen if 'between' in f]
        self.context = partial(Learner.distrib_ctx, sync_bn=False, cpu=True) if distributed else nullcontext
        set_seed(0)
        x, y = X.to(self.dtype).view(-1, 1, 8, 8)/8 - 1, Y
        if option('poison') and not option('clean'): x[BS + 3, 0, 2, 2] = np.nan
        xs = option('data', lambda x: (x,))(x)
        dls = toy_dls(*xs, y, valid=(*(o[:BS] for o in xs), y[:BS]), bs=BS, n_inp=len(xs))
        def make():
            set_seed(0)
            return (option('model') or partial(net, option('bn', True)))().to(self.dtype)
        self.make, self.start, self.batches, self.opt, model = make, make(), Batches(), option('opt', 'sgd'), make()
        opt_func = dict(sgd=partial(SGD, mom=.9), adam=Adam, torch=partial(OptimWrapper, opt=torch.optim.AdamW))[self.opt]
        if option('compile'): model = torch.compile(model, backend='eager')
        loss = nn.CrossEntropyLoss()
        loss.y_int = True                                       # what fastai's MixUp asks of a loss of classes
        cbs = [o for f in chosen if 'cbs' in f for o in L(f['cbs']())] + [self.batches, FloatLoss()]
        self.learn = Learner(dls, model, loss_func=loss, opt_func=opt_func, wd=WD, cbs=cbs, path=path, splitter=groups)
        self.share = 4*(Y < 5).sum().item()/(4*(Y < 5) + (Y >= 5)).sum().item()
        self.eps = max(1e-8, option('min_eps', 0.) if option('fp16') else 0.)
        self.tricks = {k: v for f in chosen for k, v in f.get('ref', {}).items()}

    def train(self):
        "Two calls of a fit method; between them what the features do there"
        learn = self.learn
        with quiet(learn):
            for i in range(2):
                self.call(i)
                if not i:
                    for do in self.between: do(learn)
        return named_tensors(learn.model)

    def call(self, i):
        "The first (0) or second (1) call"
        learn = self.learn
        torch.manual_seed(i)
        np.random.seed(i)
        if self.staged: (learn.unfreeze if i else learn.freeze)()
        with quiet(learn), self.context(learn):
            if self.kind == 'one_cycle': learn.fit_one_cycle(2, LR)
            elif self.kind == 'flat_cos': learn.fit_flat_cos(2, LR)
            elif self.kind == 'fine_tune': learn.fine_tune(1, LR)
            else: learn.fit(2, LR)

    def expected(self, rounding=None):
        "The same by the reference, on the batches that the Learner has had; with a generator, by one that rounds otherwise"
        model, schedules = self.make(), SCHEDULES[self.kind]*2
        ref = Reference(model, optimizer(self.opt, model, self.eps), rounding=rounding, **self.tricks)
        for i, (epochs, trained, schedule) in enumerate(zip(self.batches.fits, self.batches.trained, schedules, strict=True)):
            if 'lr_find in between' in self.names and i == len(schedules)//2: ref.opt.zero_grad()     # as it leaves them
            for p, o in zip(ref.model.parameters(), trained, strict=True): p.requires_grad_(o)
            if self.staged or self.kind == 'fine_tune': ref.opt.state.clear()
            ref.fit(epochs, options(schedule, rounding if self.kind != 'fit' else None))
        return named_tensors(ref.model)

    def distance(self):
        "Of the weights and buffers, in units of how far training has moved them; and how far rounding carries the reference itself"
        ours, theirs = self.train(), self.expected()
        distance, far = self.apart(ours, theirs)
        assert far > .05                                        # something was learned
        if 'WeightedSampling' in self.names:                    # half of the classes are to have 4 of 5 draws
            y = torch.cat([y for fit in self.batches.fits for _, batches in fit for _, y in batches])
            assert binomtest(int((y < 5).sum()), len(y), self.share).pvalue > 1e-3
        if in_all_processes(torch.tensor(distance < EXACT)): return distance, EXACT/MARGIN
        return distance, max(self.apart(self.expected(torch.Generator().manual_seed(i)), theirs)[0] for i in range(3))

    def apart(self, ours, theirs):
        "The largest distance of a tensor, in units of how far the training of `theirs` has moved it, and that way in all"
        start, weights = named_tensors(self.start), dict(self.start.named_parameters())
        assert ours.keys() == theirs.keys()
        left_out = set()
        if rank_distrib(): left_out = ours.keys() - weights     # a validation brings the first process' buffers here
        if 'SWA' in self.names and {'WeightedSampling', 'tabular model', 'AWD-LSTM classifier'} & set(self.names):   # see NOTES
            left_out |= {n for n in ours if 'running' in n}
        far = {n: (theirs[n].double() - start[n].double()).norm().item() for n in ours.keys() - left_out}
        off = {n: (ours[n].double() - theirs[n].double()).norm().item() for n in far}
        assert all(map(math.isfinite, off.values()))
        return max(off[n]/max(far[n], .01) for n in far), sum(far.values())


def outcome(names, path, distributed=False):
    "What becomes of features together: None if they agree with the reference, or the words with which they are refused"
    both = Both(names, path, distributed)
    before = {n: t.clone() for n, t in named_tensors(both.learn.model).items()}
    try: distance, rounding = both.distance()
    except ValueError as e:
        assert all(torch.equal(t, before[n]) for n, t in named_tensors(both.learn.model).items()), 'refused after weights have changed'
        return str(e)
    assert MARGIN*rounding < .1, f'{names}: rounding alone moves the reference by {rounding:.2g}; this combination says nothing'
    assert distance < MARGIN*rounding, f'{names}: off by {distance:.2g} of the way that training has gone; rounding explains {rounding:.2g}'


# of pairs: the words with which they are refused
REFUSED = {('EMA', 'SWA'): 'EMA: SWA is attached too, and only one average can be in the model.',
           ('SAM', 'AWP'): 'SAM: AWP is attached too; each wants to be the one that moves the weights for the second pass.'}
REFUSED |= {tuple(sorted((name, 'GradientNoise'), key=list(FEATURES).index)):
            f"GradientNoise: {name.split('(')[0]} is attached too; with it half of a batch is not a batch of its own."
            for name in ('SAM', 'BatchLossFilter', "BatchLossFilter(mode='mask')", 'AWP', 'MixUp')}
# of pairs that work: what to know
NOTES = {('SWA', 'WeightedSampling'): "SWA's BatchNorm statistics are of new draws; weights agree to rounding",
         ('SWA', 'tabular model'): "SWA's BatchNorm statistics are measured under dropout; weights agree to rounding",
         ('SWA', 'AWD-LSTM classifier'): "SWA's BatchNorm statistics are measured under dropout; weights agree to rounding",
         ('SkipNonFinite', 'MixUp'): 'what MixUp drew for a batch that is left out stays drawn',
         ('SkipNonFinite', 'AWD-LSTM classifier'): 'its inputs are whole numbers, so that no batch is left out in this test',
         ('SWA', 'SkipNonFinite'): 'a batch with a NaN is left out of the BatchNorm statistics, too',
         ('Rollback', 'fp16, overflows'): 'steps that overflow are no sign of divergence'}


@pytest.mark.parametrize('name', FEATURES)
def test_alone(name, tmp_path): assert outcome([name], tmp_path) is None


class AtNth(Callback):
    "Does something at the n-th time of an event"
    def __init__(self, event, n, do, order, run_valid=False):
        self.left, self.do, self.order, self.run_valid = n, do, order, run_valid
        setattr(self, event, self.happens)
    def happens(self):
        self.left -= 1
        if self.left == 0: self.do(self.learn)


def breaks(learn): raise KeyboardInterrupt


def loses_weights(learn):
    for p in learn.model.parameters(): p.data.fill_(torch.nan)


@pytest.mark.parametrize('name', [n for n in FEATURES if 'between' not in FEATURES[n] and n != 'Checkpoint'])
def test_resumed(name, tmp_path):
    "With each feature: a training that was broken off in its second call, and resumed, ends as one that was not, to the bit"
    models = []
    for broken in (False, True):
        both = Both(['Checkpoint', name], tmp_path/str(broken))
        learn = both.learn
        if broken: learn.add_cb(AtNth('after_batch', 20, breaks, 99))
        learn.remove_cb(both.batches)
        try: both.train()
        except KeyboardInterrupt:
            both = Both(['Checkpoint', name], tmp_path/str(broken))
            learn = both.learn
            learn.remove_cb(both.batches)
            with redirect_stdout(io.StringIO()): learn.resume()
            both.call(1)
        models.append(named_tensors(learn.model))
    for n, t in models[0].items(): assert torch.equal(t, models[1][n]), n


@pytest.mark.parametrize('name', [n for n in FEATURES if 'between' not in FEATURES[n] and n != 'Rollback'])
def test_rolled_back(name, tmp_path):
    "With each feature: after weights were lost training goes on from a good state, and averages with it"
    both = Both(['Rollback', name], tmp_path)
    learn = both.learn
    learn.add_cb(AtNth('after_step', 7, loses_weights, 40))
    both.train()
    assert learn.rollback.log.event.tolist() == ['rollback'], learn.rollback.log
    averages = {f'average of {n}': t for cb in learn.cbs for n, t in (getattr(cb, 'average', None) or {}).items()}
    assert all(t.isfinite().all() for t in (named_tensors(learn.model) | averages).values())


def as_expected(names, found):
    if names in REFUSED: assert found and REFUSED[names] in found, f'{names}: {found}'
    else: assert found is None, f'{names}: {found}'


@pytest.mark.parametrize('pair', PAIRS, ids=' + '.join)
def test_pair(pair, tmp_path): as_expected(pair, outcome(pair, tmp_path))


# in two processes, where fastai's `lr_find` hangs
TWICE = [(n,) for n in FEATURES if n != 'lr_find in between'] + [p for p in PAIRS if set(p) <= set(CALLBACKS)]


def in_two_processes(combinations, out):
    "What becomes of them, in each process"
    (out/'asked.json').write_text(json.dumps(combinations))
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
           Path(__file__).with_name('composition_worker.py'), out/'asked.json', out]
    res = subprocess.run(cmd, capture_output=True, text=True, timeout=1800)
    assert res.returncode == 0, res.stderr[-5000:]
    return [dict(zip(combinations, json.loads((out/f'{r}.json').read_text()), strict=True)) for r in range(2)]


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory): return in_two_processes(TWICE, tmp_path_factory.mktemp('ranks'))


@pytest.mark.xdist_group('two processes')
@pytest.mark.parametrize('names', TWICE, ids=' + '.join)
def test_two_processes(two_processes, names):
    for found in two_processes: as_expected(names, found[names])


@pytest.mark.slow
def test_all_pairs_in_two_processes(tmp_path):
    pairs = [p for p in PAIRS if p not in TWICE and 'lr_find in between' not in p]
    for found in in_two_processes(pairs, tmp_path):
        for names in pairs: as_expected(names, found[names])


# SWA's statistics are of new draws, and here the next fit trains with them
INCOMPARABLE = [{'SWA', 'WeightedSampling', 'other statistics'}]


def allowed(names): return not any(set(o) <= set(names) for o in (*EXCLUDES, *REFUSED, *INCOMPARABLE))


def several(names):
    "More than two; of one that fails the smallest that does is printed as two lines of Python, to be run in this folder"
    names = sorted(names, key=list(FEATURES).index)
    note(f'from test_composition import *\nprint(Both({names}, Path(tempfile.mkdtemp())).distance())')
    with tempfile.TemporaryDirectory() as path: assert outcome(names, Path(path)) is None


def drawn(n):
    sets = st.sets(st.sampled_from(list(FEATURES)), min_size=3, max_size=6).filter(allowed)
    often = settings(max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    return lambda test: often(given(sets)(test))


test_several, test_many = drawn(60)(several), pytest.mark.slow(drawn(1000)(several))


def test_overflows_are_tested(tmp_path):
    both = Both(['fp16, overflows'], tmp_path)
    skipped = []
    class Cancelled(Callback):
        def after_cancel_step(self): skipped.append(self.iter)
    both.learn.add_cb(Cancelled())
    both.train()
    assert 2 <= len(skipped) <= 16, skipped


def page():
    "The table, in Markdown"
    def cell(row, column):
        pair = tuple(sorted((row, column), key=list(FEATURES).index))
        if row == column: return ''
        if pair in CANNOT or frozenset(pair) in EXCLUDES: return 'not possible' if pair in CANNOT else 'one or the other'
        if pair in REFUSED: return '**refused**'
        return f'works [{1 + list(NOTES).index(pair)}]' if pair in NOTES else 'works'
    lines = ['# What works together', '',
             'Written by `tests/test_composition.py`, which trains every pair with a Learner and with a plain PyTorch loop '
             '(`tests/reference.py`) and compares all weights and buffers. *Works*: they differ by no more than rounding explains. How far '
             'rounding carries is measured: the reference is trained again with the last bit of its weights moved in each step. '
             'In two processes each feature alone and each two callbacks are compared '
             '(the second one in its weights; fastai\'s `lr_find` hangs there, with or without callbacks). '
             'With each feature, too, a training is broken off and resumed by `Checkpoint`, and one whose weights are lost is put back '
             'by `Rollback`.', '',
             '| | ' + ' | '.join(f'`{o}`' for o in CALLBACKS) + ' |', '|' + '---|'*(1 + len(CALLBACKS))]
    lines += [f"| {f'`{row}`' if row in CALLBACKS else row} | " + ' | '.join(cell(row, o) for o in CALLBACKS) + ' |' for row in FEATURES]
    lines += ['| two processes |' + ' works |'*len(CALLBACKS)]
    lines += ['', *[f'{i}. `{a}` and {b}: {text}' for i, ((a, b), text) in enumerate(NOTES.items(), 1)], '',
              *[f'`{a}` and `{b}` are refused: "{text}..."' for (a, b), text in REFUSED.items()], '']
    return '\n'.join(lines)


def test_page(): assert PAGE.read_text() == page(), 'write it again: python tests/test_composition.py'


if __name__ == '__main__': PAGE.write_text(page())
