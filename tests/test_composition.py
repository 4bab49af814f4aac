"""The composition matrix: training with any two of these together gives what a plain PyTorch loop gives (`reference.py`), or is refused.

Each combination is trained twice, by a Learner and by the reference, with the same random numbers. Weights and buffers must agree to
rounding in float64; where single or half precision is part of it, to that. `python tests/test_composition.py` writes the page
nbs/composition.md, and a test fails if it differs.
"""
import itertools
import tempfile
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
from fastai.torch_core import set_seed
from fastcore.foundation import L
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from reference import Reference, flat_cos, one_cycle
from sklearn.datasets import load_digits
from torch import nn

from fastai_recipes.all import EMA, SAM, SWA, BatchLossFilter, Checkpoint, Rollback, SkipNonFinite, WeightedSampling
from fastai_recipes.core import named_tensors
from fastai_recipes.testing import CPUMixedPrecision, FloatLoss, quiet, toy_dls

LR, BS, N = .05, 12, 72
PAGE = Path(__file__).resolve().parents[1]/'nbs'/'composition.md'


class Batches(Callback):
    "What the Learner trains on, before anything is done to it"
    order, run_valid = -100, False
    def before_fit(self):
        if not self.learn.lock.locked() and not hasattr(self.learn, 'lr_finder'): self.fits.append([])
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
    'WeightedSampling': dict(cbs=lambda: WeightedSampling('sqrt')),
    'Checkpoint': dict(cbs=lambda: Checkpoint(every=2)),
    'fp16': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**8), ref=dict(amp=torch.float16, scale=2.**8), dtype=torch.float32, tol=.02),
    'fp16, overflows': dict(cbs=lambda: CPUMixedPrecision(init_scale=2.**20), ref=dict(amp=torch.float16, scale=2.**20),
                            dtype=torch.float32, tol=.02),
    'bf16': dict(cbs=lambda: CPUMixedPrecision(amp_mode='bf16'), ref=dict(amp=torch.bfloat16), dtype=torch.float32, tol=.05),
    'GradientAccumulation': dict(cbs=lambda: GradientAccumulation(3*BS), ref=dict(n_acc=3*BS)),
    'GradientClip': dict(cbs=lambda: GradientClip(.1), ref=dict(clip=.1)),
    'MixUp': dict(cbs=lambda: MixUp(.4), ref=dict(mixup=.4), dtype=torch.float32, tol=1e-4),
    'no BatchNorm': dict(bn=False),
    'timm transformer': dict(model=lambda: timm.create_model('test_vit', img_size=8, patch_size=4, in_chans=1, num_classes=10), tol=1e-5),
    'tabular model': dict(model=lambda: TabularModel([(5, 3)], 63, 10, [20], ps=.1, embed_p=.1),
                          data=lambda x: ((x[:, 0, 0, :1] > 0).long(), x.flatten(1)[:, 1:])),
    'AWD-LSTM classifier': dict(model=lambda: text_classifier(), data=lambda x: (((x.flatten(1) + 1)*8).long()[:, 8:40],), tol=1e-6,
                                cbs=lambda: [ModelResetter(), RNNCallback()], clean=True),
    'staged transfer': dict(staged=True),
    'Adam': dict(opt='adam'),
    'torch AdamW': dict(opt='torch'),
    'torch.compile': dict(compile=True),
    'fit_one_cycle': dict(fit='one_cycle', tol=1e-7),        # fastai's schedules compute in float32
    'fit_flat_cos': dict(fit='flat_cos', tol=1e-7),
    'lr_find in between': dict(between=lambda learn: learn.lr_find(num_it=5, show_plot=False, suggest_funcs=None)),
    'get_preds in between': dict(between=lambda learn: learn.get_preds()),
    'export in between': dict(between=lambda learn: exported(learn)),
    'SaveModelCallback': dict(cbs=lambda: SaveModelCallback(every_epoch=True, with_opt=True)),
    'EarlyStoppingCallback': dict(cbs=lambda: EarlyStoppingCallback(patience=50)),
}
CALLBACKS = list(FEATURES)[:9]
ONE_OF = [('fp16', 'fp16, overflows', 'bf16'), ('Adam', 'torch AdamW'), ('fit_one_cycle', 'fit_flat_cos'),
          ('no BatchNorm', 'timm transformer', 'tabular model', 'AWD-LSTM classifier'), ('BatchLossFilter', "BatchLossFilter(mode='mask')")]
CANNOT = [('MixUp', 'tabular model'), ('MixUp', 'AWD-LSTM classifier'),        # fastai's mixes no whole numbers
          ('fp16', 'AWD-LSTM classifier'), ('fp16, overflows', 'AWD-LSTM classifier')]   # on a CPU torch has no LSTM in float16
EXCLUDES = {frozenset(o) for names in ONE_OF for o in itertools.combinations(names, 2)} | {frozenset(o) for o in CANNOT}
PAIRS = [p for p in itertools.combinations(FEATURES, 2) if frozenset(p) not in EXCLUDES]


def exported(learn):
    learn.export('e.pkl')
    back = load_learner(learn.path/'e.pkl')
    with quiet(learn), quiet(back): assert torch.equal(learn.get_preds()[0], back.get_preds(dl=learn.dls.valid)[0])


def net(bn):
    body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=not bn), nn.BatchNorm2d(4) if bn else nn.Identity(), nn.Tanh())
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Dropout(.2), nn.Linear(36, 10)))


def text_classifier():
    config = awd_lstm_clas_config | dict(emb_sz=8, n_hid=12, n_layers=2)
    return get_text_classifier(AWD_LSTM, 20, 10, seq_len=8, config=config, lin_ftrs=[12], max_len=32)


def groups(model):
    "The last child's parameters, and all others, those of the model itself among them"
    head = list(list(getattr(model, '_orig_mod', model).children())[-1].parameters())
    return [[p for p in model.parameters() if not any(p is o for o in head)], head]


class Both:
    "A Learner with some features, and the reference with the same"
    def __init__(self, names, path):
        chosen = [FEATURES[n] for n in names]
        def option(k, default=None): return next((f[k] for f in chosen if k in f), default)
        self.names, self.dtype, self.tol = names, option('dtype', torch.float64), max([1e-9, *(f.get('tol', 0) for f in chosen)])
        self.staged, self.kind, self.between = option('staged'), option('fit', 'fit'), [f['between'] for f in chosen if 'between' in f]
        set_seed(0)
        x, y = load_digits(return_X_y=True)
        x, y = torch.tensor(x[:N]).to(self.dtype).view(-1, 1, 8, 8)/8 - 1, torch.tensor(y[:N])
        if option('poison') and not option('clean'): x[BS + 3, 0, 2, 2] = np.nan
        xs = option('data', lambda x: (x,))(x)
        dls = toy_dls(*xs, y, valid=(*(o[:BS] for o in xs), y[:BS]), bs=BS, n_inp=len(xs))
        def make():
            set_seed(0)
            return (option('model') or partial(net, option('bn', True)))().to(self.dtype)
        self.start, self.batches, opt, model = make(), Batches(), option('opt', 'sgd'), make()
        self.batches.fits, self.trained = [], []
        opt_func = dict(sgd=partial(SGD, mom=.9), adam=Adam, torch=partial(OptimWrapper, opt=torch.optim.AdamW))[opt]
        if option('compile'): model = torch.compile(model, backend='eager')
        loss = nn.CrossEntropyLoss()
        loss.y_int = True                                       # what fastai's MixUp asks of a loss of classes
        cbs = [o for f in chosen if 'cbs' in f for o in L(f['cbs']())] + [self.batches, FloatLoss()]
        self.learn = Learner(dls, model, loss_func=loss, opt_func=opt_func, wd=.01, cbs=cbs, path=path,
                             splitter=groups)
        self.ref = Reference(make(), opt=opt, **{k: v for f in chosen for k, v in f.get('ref', {}).items()})
        if opt == 'torch': self.ref.torch_opt = torch.optim.AdamW(self.ref.model.parameters(), weight_decay=.01)

    def train(self):
        "Two fits; between them what the features do there"
        learn = self.learn
        with quiet(learn):
            if self.staged: learn.freeze()
            for i in range(2):
                torch.manual_seed(i)
                np.random.seed(i)
                if i and self.staged: learn.unfreeze()
                self.trained.append([p.requires_grad for p in learn.model.parameters()])
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
            if 'lr_find in between' in self.names: ref.model.zero_grad(set_to_none=False)     # as fastai leaves them
            if self.staged:
                for p, trained in zip(ref.model.parameters(), self.trained[i], strict=True): p.requires_grad_(trained)
                ref.state.clear()
                if ref.torch_opt is not None: ref.torch_opt.state.clear()
            ref.fit(epochs, schedule)
        return named_tensors(ref.model)

    def distance(self):
        "Of the weights and buffers, in units of how far training has moved them"
        ours, theirs, start = self.train(), self.expected(), named_tensors(self.start)
        assert ours.keys() == theirs.keys()
        if 'SWA' in self.names and {'WeightedSampling', 'tabular model', 'AWD-LSTM classifier'} & set(self.names):   # see NOTES
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


# of pairs: the words with which they are refused
REFUSED = {('EMA', 'SWA'): 'EMA: SWA is attached too, and only one average can be in the model.'}
# of pairs that work: what to know
NOTES = {('SWA', 'WeightedSampling'): "SWA's BatchNorm statistics are of new draws; weights agree to rounding",
         ('SWA', 'tabular model'): "SWA's BatchNorm statistics are measured under dropout; weights agree to rounding",
         ('SWA', 'AWD-LSTM classifier'): "SWA's BatchNorm statistics are measured under dropout; weights agree to rounding",
         ('SkipNonFinite', 'MixUp'): 'what MixUp drew for a batch that is left out stays drawn',
         ('SWA', 'SkipNonFinite'): 'a batch with a NaN is left out of the BatchNorm statistics, too',
         ('Rollback', 'fp16, overflows'): 'steps that overflow are no sign of divergence'}


@pytest.mark.parametrize('name', FEATURES)
def test_alone(name, tmp_path): assert outcome([name], tmp_path) is None


@pytest.mark.parametrize('pair', PAIRS, ids=' + '.join)
def test_pair(pair, tmp_path):
    refused = outcome(pair, tmp_path)
    if pair in REFUSED: assert refused and REFUSED[pair] in refused, f'{pair}: {refused}'
    else: assert refused is None, f'{pair} is refused: {refused}'


def allowed(names): return not any(set(o) <= set(names) for o in (*EXCLUDES, *REFUSED))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(list(FEATURES)), min_size=3, max_size=6).filter(allowed))
def test_several(names):
    "More than two; of one that fails the smallest that does is printed, to be run in this folder"
    names = sorted(names, key=list(FEATURES).index)
    note(f'python -c "from test_composition import *; print(Both({names}, Path(tempfile.mkdtemp())).distance())"')
    with tempfile.TemporaryDirectory() as path: assert outcome(names, Path(path)) is None


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
             '(`tests/reference.py`) and compares all weights and buffers. *Works*: they agree to rounding in float64, '
             'or to the precision that is part of the pair.', '',
             '| | ' + ' | '.join(f'`{o}`' for o in CALLBACKS) + ' |', '|' + '---|'*(1 + len(CALLBACKS))]
    lines += [f"| {f'`{row}`' if row in CALLBACKS else row} | " + ' | '.join(cell(row, o) for o in CALLBACKS) + ' |' for row in FEATURES]
    lines += ['', *[f'{i}. `{a}` and {b}: {text}' for i, ((a, b), text) in enumerate(NOTES.items(), 1)], '',
              *[f'`{a}` and `{b}` are refused: "{text}..."' for (a, b), text in REFUSED.items()], '']
    return '\n'.join(lines)


def test_page(): assert PAGE.read_text() == page(), 'write it anew: python tests/test_composition.py'


if __name__ == '__main__': PAGE.write_text(page())
