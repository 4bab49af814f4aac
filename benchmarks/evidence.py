"""What each callback and recipe gains and loses on real data that ships with scikit-learn, over seeds.

Each setup trains beside the plain Learner of the same seed, which decides the split, the initial weights and the order of the batches.
It is compared twice: with the plain Learner after as many epochs; and after as much time, in which the plain Learner trains more (or fewer)
epochs: as many as the setup costs, the median over seeds of its seconds divided by the plain ones. So all that a setup does is counted,
once in a training or once in an epoch. Where more epochs make the plain Learner worse, it need not use the time. The plain Learner is
`fit_one_cycle` with Adam; its rate for each task is the best of a sweep over other seeds, and all setups use it, but for other optimizers
and for schedules that keep their rate, which have a sweep of their own.
Writes evidence.csv and evidence_machine.csv beside this file; pages.py makes the page and the picture of them, and each method card
shows its rows. `--costs evidence.csv` takes the costs from an earlier run, which then is repeated to the digit.
"""
import atexit
import contextlib
import gc
import io
import logging
import math
import tempfile
import time
import warnings
from functools import cache, partial

import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle` and `fine_tune`
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.schedule import SchedLin
from fastai.callback.tracker import SaveModelCallback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import set_seed
from fastcore.basics import noop
from sklearn import datasets
from sklearn.metrics import f1_score
from torch import nn

from common import Results, machine, parser, pool_of
from fastai_recipes.all import (AWP, EMA, SAM, SWA, BatchLossFilter, Ensemble, Fp16Guard, MultiClassFocalLoss,
                                OneVsAllBCE, PolyLoss, Rollback, SkipNonFinite, WeightedSampling, class_weights,
                                cross_validate, label_errors, list_opts, opt_func, pseudo_labels,
                                refit_at_best_epoch, search_space, snapshot_ensemble, soup, tune)
from fastai_recipes.recipes.seeds import paired
from fastai_recipes.core import copied_learner, is_validation
from fastai_recipes.testing import CPUMixedPrecision, small_convnet, toy_dls

PACKAGES = ['fastai', 'fastcore', 'torch', 'scikit-learn', 'timm', 'pytorch_optimizer', 'numpy']
RATES = -5, -4, -3, -2               # where a sweep starts, in powers of the root of 10: 0.003 to 0.1; it goes on while the best is the lowest or the highest
TIMES = 0, 1, 2, 3                   # likewise for another optimizer, times the rate that it suggests: 1 to 30
SWEEP_SEEDS = 1000, 1001, 1002       # which no row uses
DEFAULT = 1e-3                       # fastai's rate where none is given
NEAR = 1.08                          # so near one another, setups share the plain trainings that take as long
QUICK = 6                            # epochs, of --quick
MEMBERS, TRIALS = 5, 12


# --- tasks: training and test set of a seed, and a net

@cache
def loaded(name):
    x, y = (torch.as_tensor(o) for o in getattr(datasets, f'load_{name}')(return_X_y=True))
    if name == 'digits': return x.float().view(-1, 1, 8, 8)/8 - 1, y
    x = x.float()
    return (x - x.mean(0))/x.std(0), (y > y.median()).long() if name == 'diabetes' else y


class Task:
    "A data set, how many items are for training and how many without labels, and what is done to them"
    metric = 'accuracy'
    def __init__(self, data, n_train, bs=32, epochs=10, classes=None, thin=None, wrong=0., poison=0., before=None, unlabelled=0):
        self.data, self.n_train, self.bs, self.epochs, self.classes = data, n_train, bs, epochs, classes
        self.thin, self.wrong, self.poison, self.before, self.unlabelled = thin, wrong, poison, before, unlabelled
        self.drop = .2 if data == 'digits' else .1
        if thin: self.metric = 'macro-F1'

    def sets(self, seed):
        "For training, for testing, and inputs without labels"
        gen, (x, y) = torch.Generator().manual_seed(seed), loaded(self.data)
        if self.classes:
            keep = torch.isin(y, torch.tensor(self.classes))
            x, y = x[keep], torch.searchsorted(torch.tensor(self.classes), y[keep])
        order = torch.randperm(len(x), generator=gen)
        train, pool, test = ((x[o], y[o]) for o in order.tensor_split([self.n_train, self.n_train + self.unlabelled]))
        if self.thin:                                   # as a geometric series from the largest class to the smallest
            by_size = torch.bincount(train[1]).sort(descending=True, stable=True)
            sizes = [max(2, round(int(by_size[0][0])*self.thin**(-k/(len(by_size[0]) - 1)))) for k in range(len(by_size[0]))]
            keep = torch.cat([(train[1] == c).nonzero()[:k, 0] for c, k in zip(by_size[1], sizes, strict=True)])
            keep = keep[torch.randperm(len(keep), generator=gen)]
            train = train[0][keep], train[1][keep]
        if self.wrong:
            which, n_classes = torch.randperm(len(train[1]), generator=gen)[:round(self.wrong*len(train[1]))], int(y.max()) + 1
            labels = train[1].clone()
            labels[which] = (labels[which] + torch.randint(1, n_classes, which.shape, generator=gen)) % n_classes
            train = train[0], labels
        if self.poison:
            bad = torch.zeros(len(train[0]), dtype=bool)
            bad[torch.randperm(len(bad), generator=gen)[:round(self.poison*len(bad))]] = True
            train = torch.where(bad.view(-1, *[1]*(x.ndim - 1)), math.nan, train[0]), train[1]
        return train, test, pool[0]

    def net(self, n_out, drop=None):
        drop = self.drop if drop is None else drop
        if self.data == 'digits': return small_convnet(n_out, dropout=drop)
        width = loaded(self.data)[0].shape[1]
        def layer(i, o): return nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(drop))
        return nn.Sequential(nn.Sequential(layer(width, 64), layer(64, 32)), nn.Linear(32, n_out))


def cut(*parts):
    "A splitter: one group for each layer of a net of body and head"
    body, head = parts[0].children()
    return [list(o.parameters()) for o in body.children() if list(o.parameters())] + [list(head.parameters())]


def on_each(**kwargs): return dict(digits=Task('digits', 200, **kwargs), breast=Task('breast_cancer', 150, **kwargs), diabetes=Task('diabetes', 220, **kwargs))


def named(tasks, what=''): return {name + what: o for name, o in zip(('digits', 'breast cancer', 'diabetes, above the median'), tasks.values(), strict=True)}


GENERAL = named(on_each())
WRONG, BROKEN = named(on_each(wrong=.2), ', 20 % wrong labels'), named(on_each(poison=.01), ', 1 % NaN')
CONSTANT, SEARCH, LONG = named(on_each(), ', constant rate'), named(on_each(), ', rate not known'), named(on_each(epochs=20), ', 20 epochs')
FAST = {f'{name}, rate of 100': task for name, task in GENERAL.items() if task.data != 'digits'} | {'wine, rate of 100': Task('wine', 90, bs=16)}     # float16 is slow for images on a CPU
FEW = {'digits, 50 labels': Task('digits', 50, bs=10, unlabelled=500), 'breast cancer, 20 labels': Task('breast_cancer', 20, bs=10, unlabelled=200),
       'diabetes, 40 labels': Task('diabetes', 40, bs=10, unlabelled=180)}
IMBALANCE = {'digits, 50:1': Task('digits', 1000, thin=50), 'breast cancer, 10:1': Task('breast_cancer', 300, thin=10), 'wine, 10:1': Task('wine', 90, bs=16, thin=10)}
LOW, HIGH = list(range(5)), list(range(5, 10))
TRANSFER = {'digits 0-4 to 5-9, 50 images': Task('digits', 50, bs=10, classes=HIGH, before=LOW),
            'digits 0-4 to 5-9, 100 images': Task('digits', 100, bs=10, classes=HIGH, before=LOW),
            'digits 5-9 to 0-4, 50 images': Task('digits', 50, bs=10, classes=LOW, before=HIGH)}


class Run:
    "One training of a setup: a seed of a task, its rate, and how many epochs it may take"
    def __init__(self, task, seed, lr, epochs):
        self.task, self.seed, self.lr, self.epochs = task, seed, lr, epochs
        self.train, self.test, self.unlabelled = task.sets(seed)
        self.n_out, self.charged = int(self.test[1].max()) + 1, 0.

    def learner(self, cbs=(), loss=None, member=0, train=None, valid=None, bs=None, drop=None, **kwargs):
        "It looks at `valid` after each epoch, at nothing if None; `member` changes the seed, for many models of one seed"
        set_seed(self.seed + 100_000*member)
        train = train or self.train
        dls = toy_dls(*train, valid=valid or [o[:2] for o in train], bs=bs or self.task.bs, shuffle=True)
        dls.c = self.n_out
        cbs = [*cbs, CountEpochs(), *([NoValidation()] if valid is None else [])]
        learn = Learner(dls, self.task.net(self.n_out, drop), loss_func=loss or CrossEntropyLossFlat(), splitter=cut, cbs=cbs, **kwargs)
        learn.remove_cbs([o for o in learn.cbs if o.name == 'progress'])
        learn.logger = noop
        return learn

    def one_cycle(self, learn, epochs=None):
        learn.fit_one_cycle(epochs or self.epochs, self.lr)
        return learn

    def held_out(self):
        "Three quarters of the training set, and a quarter"
        n = len(self.train[0])*3//4
        return [o[:n] for o in self.train], [o[n:] for o in self.train]


class NoValidation(Callback):
    "The test set is looked at once, after the training"
    order = -100
    def before_validate(self):
        if not is_validation(self.learn): raise CancelValidException


class CountEpochs(Callback):
    "All that are trained in this process, whatever the Learner"
    n = 0
    def after_train(self): CountEpochs.n += 1


def with_cbs(*makes, **kwargs): return lambda run: run.one_cycle(run.learner([o() for o in makes], **kwargs))
def with_loss(make): return lambda run: run.one_cycle(run.learner(loss=make(run.train[1])))


def fitted(fit, cbs=(), **kwargs):
    def go(run):
        learn = run.learner([o() for o in cbs], **kwargs)
        fit(learn, run)
        return learn
    return go


def constant(*makes): return fitted(lambda learn, run: learn.fit(run.epochs, run.lr), makes)
def restarts(learn, run): learn.fit_cos_restarts(2, run.epochs//2, run.lr)
def found_rate(learn, run): learn.fit_one_cycle(run.epochs, learn.find_lr(show_plot=False))


def found_batch(run):
    "From 4 to a quarter of the training set; the rate grows with the root of the batch, as for Adam"
    bs = min(max(4, run.learner().bs_find(show_plot=False).bs), len(run.train[0])//4)
    learn = run.learner(bs=bs)
    learn.fit_one_cycle(run.epochs, run.lr*(bs/run.task.bs)**.5)
    return learn


def log_loss(preds, targs): return F.cross_entropy(preds, targs)


def searched(run, n_trials, **kwargs):
    "A study on three quarters of the training set, judged by the rest"
    train, valid = run.held_out()
    return tune(lambda config: configured(run, config, train=train, valid=valid, metrics=log_loss), search_space('lr', 'wd', 'drop', 'smoothing'), n_trials, run.epochs,
                metric='log_loss', storage=None, seed=run.seed, **kwargs)           # not by the loss, in which the smoothing is


def configured(run, config, **kwargs): return run.learner(loss=CrossEntropyLossFlat(label_smoothing=config['smoothing']), drop=config['drop'], **kwargs)


def at_best(run, study):
    "Trained on the whole training set"
    best = study.best_config
    learn = configured(run, best)
    learn.fit_one_cycle(run.epochs, best['lr'], wd=best['wd'])
    return learn


def tuned(run): return at_best(run, searched(run, TRIALS))


def best_epoch(run):
    "Early stopping: one training, of which the epoch with the lowest loss on a quarter is kept"
    train, valid = run.held_out()
    with tempfile.TemporaryDirectory() as folder:
        learn = run.learner([SaveModelCallback()], train=train, valid=valid, path=folder)
        return run.one_cycle(learn)


def refitted(run):
    train, valid = run.held_out()
    return refit_at_best_epoch(lambda: run.learner(train=train, valid=valid), run.epochs, lr=run.lr, seed=run.seed).learn


def pseudo_labelled(run):
    "Trains, labels what it is sure of, and trains anew on both"
    sure = pseudo_labels(probabilities(run.one_cycle(run.learner()), run.unlabelled))
    x, y = run.train
    return run.one_cycle(run.learner(train=(torch.cat([x, run.unlabelled[sure['item'].to_numpy()]]), torch.cat([y, torch.as_tensor(sure['label'].to_numpy(dtype=int))]))))


def cleaned(run):
    "Without the items whose labels are flagged, by predictions out of fold"
    found = folded(run)
    flagged = label_errors(found.preds, run.train[1]).query('flagged')['item'].to_numpy()
    keep = torch.ones(len(run.train[0]), dtype=bool).index_fill(0, torch.as_tensor(flagged), False)
    return run.one_cycle(run.learner(train=[o[keep] for o in run.train]))


# --- recipes for transfer and for many models

@cache
def pretrained(before, seed):
    "A net's weights after the other digits"
    run = Run(Task('digits', 700, classes=list(before)), seed, 1e-2, 5)
    return run.one_cycle(run.learner()).model.state_dict()


def transfer(fit, scratch=False):
    def go(run):
        learn = run.learner()
        if not scratch:
            head = {k: v.clone() for k, v in learn.model[1].state_dict().items()}
            learn.model.load_state_dict(pretrained(tuple(run.task.before), run.seed))
            learn.model[1].load_state_dict(head)
        return fit(learn, run) or learn
    return go


def fine_tune(learn, run):
    first = max(1, run.epochs//6)
    learn.fine_tune(run.epochs - first, run.lr, freeze_epochs=first)


def stages(learn, run, **kwargs):
    "Two stages of a sixth of the epochs before the last"
    first = run.epochs//6
    learn.fine_tune_stages(**dict(dict(epochs=run.epochs - 2*first, lr=run.lr, freeze_epochs=first), **kwargs))


def head_only(learn, run):
    sub = learn.fit_head(run.epochs, run.lr, cbs=[NoValidation(), CountEpochs()])
    learn.model[1].load_state_dict(sub.model.state_dict())


MADE = {}
def ensemble(run, how='mean'):
    "The members of a seed are trained once; whoever uses them again is charged their time and epochs"
    key = run.task.data, run.seed, run.lr, run.epochs
    if key in MADE:
        run.charged += MADE[key][1]
        CountEpochs.n += MEMBERS*run.epochs
    else:
        MADE.clear()
        began = time.process_time()
        MADE[key] = [run.one_cycle(run.learner(member=i)) for i in range(MEMBERS)], time.process_time() - began
    return Ensemble(MADE[key][0], how)


def folded(run):
    return cross_validate(lambda a, b: run.learner(train=[o[a] for o in run.train], valid=[o[b] for o in run.train]), len(run.train[0]), MEMBERS, run.train[1],
                          fit=run.one_cycle, seed=run.seed)


def distilled(run):
    teacher, student = ensemble(run), run.learner()
    student.distill(teacher, run.epochs, run.lr)
    return student


def souped(run):
    "A common start of two thirds of the epochs, then the rest five times"
    last, parts = run.epochs//3, []
    start = run.one_cycle(run.learner(), run.epochs - last)
    for i in range(MEMBERS):
        set_seed(run.seed + 100_000*i)
        parts.append(run.one_cycle(copied_learner(start), last))
    return soup(parts)


# --- setups: for each family of tasks what is compared with what; the card that shows the row

PLAIN, BACK, SWEPT = with_cbs(), partial(Rollback, every=10, threshold=2., lr_mult=.001), 'the best rate'
OWN_SWEEP = 'fit_flat_swa', 'fit_plateau', 'from scratch'     # they keep a rate longer, or change more, than what is beside them
TRICKS = {
    'SAM()': ('sam', with_cbs(SAM)), 'SAM(0.2)': ('sam', with_cbs(partial(SAM, .2))), 'SAM(1, adaptive=True)': ('sam', with_cbs(partial(SAM, 1., adaptive=True))),
    'EMA()': ('averaging', with_cbs(EMA)), 'SWA()': ('averaging', with_cbs(SWA)), 'SAM() and EMA()': ('sam averaging', with_cbs(SAM, EMA)),
    'AWP(0.01, start=0.2)': ('awp', with_cbs(partial(AWP, 1e-2, start=.2))),
    'BatchLossFilter(0.5, start=0.2)': ('batch_filter', with_cbs(partial(BatchLossFilter, .5, start=.2))),
    'BatchLossFilter(1, drop=0.2, start=0.2)': ('batch_filter', with_cbs(partial(BatchLossFilter, 1., drop=.2, start=.2))),
}
SETUPS = {
    'general': (GENERAL, 'plain', PLAIN, TRICKS | {
        "BatchLossFilter(0.5, start=0.2, mode='mask')": ('batch_filter', with_cbs(partial(BatchLossFilter, .5, start=.2, mode='mask'))),
        'SkipNonFinite()': ('guards', with_cbs(SkipNonFinite)), 'Rollback()': ('guards', with_cbs(Rollback)),
        'PolyLoss()': ('losses', with_loss(lambda y: PolyLoss())), 'OneVsAllBCE()': ('losses', with_loss(lambda y: OneVsAllBCE())),
        'fit_flat_swa': ('schedules', fitted(lambda learn, run: learn.fit_flat_swa(run.epochs, run.lr))),
        'fit_warmup_cos': ('schedules', fitted(lambda learn, run: learn.fit_warmup_cos(run.epochs, run.lr))),
        'fit_cos_restarts': ('schedules', fitted(restarts)),
        'fit_plateau': ('schedules', fitted(lambda learn, run: learn.fit_plateau(run.epochs, run.lr, monitor='train_loss', tail=.2))),
        'the batch of bs_find()': ('noise_scale', found_batch),
        **{f'opt_func({name!r})': ('optimizers', with_cbs(opt_func=opt_func(name))) for name in ('ranger', 'lion', 'adabelief')}}),
    'wrong': (WRONG, 'plain', PLAIN, {k: v for k, v in TRICKS.items() if 'AWP' not in k and ' and ' not in k} | {'without what label_errors() flags': ('diagnosis', cleaned)}),
    'constant': (CONSTANT, 'plain', constant(), {'EMA()': ('averaging', constant(EMA)), 'SWA()': ('averaging', constant(SWA)), 'SAM() and EMA()': ('sam averaging', constant(SAM, EMA))}),
    'imbalance': (IMBALANCE, 'plain', PLAIN, {
        "WeightedSampling('sqrt')": ('weighting', with_cbs(partial(WeightedSampling, 'sqrt'))),
        "WeightedSampling('balanced')": ('weighting', with_cbs(partial(WeightedSampling, 'balanced'))),
        "WeightedSampling('balanced', schedule=SchedLin(0, 1))": ('weighting', with_cbs(partial(WeightedSampling, 'balanced', schedule=SchedLin(0, 1)))),
        "class_weights('sqrt') in the loss": ('weighting losses targets', with_loss(lambda y: CrossEntropyLossFlat(weight=class_weights(y, 'sqrt')))),
        "class_weights('inverse') in the loss": ('weighting losses targets', with_loss(lambda y: CrossEntropyLossFlat(weight=class_weights(y, 'inverse')))),
        'MultiClassFocalLoss()': ('weighting losses', with_loss(lambda y: MultiClassFocalLoss())),
        "MultiClassFocalLoss(weight=class_weights('sqrt'))": ('weighting losses', with_loss(lambda y: MultiClassFocalLoss(weight=class_weights(y, 'sqrt'))))}),
    'transfer': (TRANSFER, 'fine_tune', transfer(fine_tune), {
        'from scratch': ('transfer', transfer(lambda learn, run: run.one_cycle(learn), scratch=True)),
        'fine_tune_stages()': ('transfer', transfer(stages)),
        'fine_tune_stages(freeze_bn=True)': ('transfer', transfer(partial(stages, freeze_bn=True))),
        "fine_tune_stages(lr='find')": ('transfer', transfer(partial(stages, lr='find'))),
        'fit_head()': ('transfer', transfer(head_only))}),
    'search': (SEARCH, "fastai's rate", PLAIN, {
        'the rate of find_lr()': ('learning_rate', fitted(found_rate)), SWEPT: ('learning_rate', PLAIN), f'tune(n_trials={TRIALS})': ('tuning', tuned)}),
    'many': (GENERAL, 'one model', PLAIN, {
        f'ensemble of {MEMBERS}': ('ensemble', ensemble), f'ensemble of {MEMBERS}, geometric': ('ensemble', partial(ensemble, how='geometric')),
        f'{MEMBERS} folds as an ensemble': ('ensemble', lambda run: folded(run).ensemble()),
        'snapshots of 5 cycles': ('ensemble', lambda run: snapshot_ensemble(run.learner(), 5, run.epochs//5, run.lr)),
        'distilled from the ensemble': ('ensemble', distilled), f'soup of {MEMBERS} fine-tunings': ('ensemble', souped)}),
    'stopping': (LONG, 'the best epoch kept', best_epoch, {'refit_at_best_epoch()': ('ensemble', refitted), 'all items, the last epoch': ('ensemble', PLAIN)}),
    'few': (FEW, 'plain', PLAIN, {'pseudo_labels()': ('unlabelled', pseudo_labelled)}),
    'broken': (BROKEN, 'plain', PLAIN, {'SkipNonFinite()': ('guards', with_cbs(SkipNonFinite))}),
    'rate': (FAST, 'plain', PLAIN, {
        'Rollback()': ('guards', with_cbs(Rollback)), 'Rollback(every=10, threshold=2, lr_mult=0.001)': ('guards', with_cbs(BACK)),
        'float16 with Fp16Guard(), SkipNonFinite() and that Rollback': ('guards', with_cbs(CPUMixedPrecision, Fp16Guard, SkipNonFinite, BACK))}),
}


# --- measuring

def probabilities(learn, x):
    learn.model.eval()
    with torch.no_grad(): return learn.model(x).softmax(1)


def scores(run, model):
    "On the test set, in %: the task's metric, and the log loss"
    preds = model.get_preds(dl=toy_dls(*run.test, bs=256).valid)[0] if isinstance(model, Ensemble) else probabilities(model, run.test[0])
    y = run.test[1]
    if not preds.isfinite().all(): guess = torch.zeros_like(y)                    # a broken net has no opinion; it gets the first class
    else: guess = preds.argmax(1)
    score = f1_score(y, guess, average='macro') if run.task.metric == 'macro-F1' else (guess == y).float().mean().item()
    return 100*float(score), F.nll_loss(preds.clamp_min(1e-15).log(), y).item()


def trained(setup, task, seed, lr, epochs):
    """Epochs in all, score, log loss, and seconds of the processor: with one thread those of the clock, but for what else runs on the machine"""
    run = Run(task, seed, lr, epochs)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if task.before: pretrained(tuple(task.before), seed)                         # not part of what is timed
        CountEpochs.n, began = 0, time.process_time()
        model = setup(run)
        took = time.process_time() - began + run.charged
        return CountEpochs.n, *scores(run, model), took


def work(job):
    """Trainings of a task with one seed take turns: `job` is the family, the task, the seed, and of each training its setup, rate and epochs

    Who begins changes with the seed: the first one may find another cache than the last."""
    family, task, seed, plan = job
    tasks, base, plain, setups = SETUPS[family]
    made, rows = {base: plain} | {k: v for k, (_, v) in setups.items()}, []
    for name, lr, epochs in plan[seed % len(plan):] + plan[:seed % len(plan)]:
        try: rows.append((family, task, seed, name, epochs, *trained(made[name], tasks[task], seed, lr, epochs)))
        except Exception as e:
            e.add_note(f'in {family}: {name}, {task}, seed {seed}, rate {lr}, {epochs} epochs')
            raise
    return rows


def collect(pool, jobs, *more):
    "A row for each training, `more` rows first"
    rows = [row for o in pool.imap_unordered(work, jobs, chunksize=1) for row in o]
    return pd.concat([*more, pd.DataFrame(rows, columns=['family', 'task', 'seed', 'setup', 'epochs', 'in_all', 'score', 'log_loss', 'seconds'])] if rows else more)


# --- rates

OPT_LR = {}          # what `list_opts` suggests, by setup
def own_rates(name): return name in OPT_LR or name in OWN_SWEEP
def level(k): return float(f'{10**(k/2):.0e}')


def like(family, task):
    "Whose sweep a task uses: the same data in good order, and as many of them"
    if family in ('wrong', 'constant', 'imbalance', 'transfer', 'few'): return family, task
    return 'general', next(n for n, o in GENERAL.items() if o.data == SETUPS[family][0][task].data)


def swept(job):
    "Mean log loss of a setup at a rate, over some of the sweep's seeds"
    (family, task, name), k, epochs, seeds = job
    tasks, base, plain, setups = SETUPS[family]
    lr = float(f'{level(k)*OPT_LR.get(name, 1.):.3g}')
    loss = np.mean([trained(plain if name == base else setups[name][1], tasks[task], seed, lr, epochs)[2] for seed in seeds])
    return job[0], k, lr, loss if math.isfinite(loss) else math.inf


def rates_of(pool, chosen, epochs_of, quick):
    "The best rate for each task, by the log loss of the plain setup; for each other optimizer its own, around the one that it suggests"
    wanted = dict.fromkeys((*like(family, task), name) for family, task, names in chosen if family != 'rate'
                           for name in (SETUPS[like(family, task)[0]][1], *filter(own_rates, names)))
    seeds, found = SWEEP_SEEDS[:1] if quick else SWEEP_SEEDS, {o: {} for o in wanted}
    def start(name): return TIMES if name in OPT_LR else RATES
    todo = [(o, k) for o in wanted for k in (start(o[2])[1:2] if quick else start(o[2]))]
    def best(o): return min(found[o], key=lambda k: (found[o][k][0], k))
    while todo:
        for o, k, lr, loss in pool.imap_unordered(swept, [(o, k, epochs_of(*o[:2]), seeds) for o, k in todo]): found[o][k] = loss, lr
        ends = [(o, best(o), min(found[o]), max(found[o])) for o in wanted]
        todo = [] if quick else [(o, low - 1 if k == low else high + 1) for o, k, low, high in ends if k in (low, high) and len(found[o]) < 12]
    return {o: found[o][best(o)][1] for o in wanted}


def rate(rates, family, task, name):
    if family == 'rate': return 100.
    if family == 'search' and name != SWEPT: return DEFAULT
    family, task = like(family, task)
    return rates.get((family, task, name), rates[family, task, SETUPS[family][1]])


# --- records

def text(c, verdict, digits):
    "The gain with its interval, and what that says"
    if verdict == 'same': return 'the same'
    low, high = c.interval
    return f'{c.difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})' + ('' if verdict == 'undecided' else f' {verdict}')


def summary(runs, plains, budget, family, task, name, card, lr, cost, metric):
    """A record: both means with standard errors, and the paired gain with its 95 % interval

    Of `plains` the one with the better mean stands beside it; `cost` is its time in that of the first of them, which is as long in time."""
    out, runs = [], runs.sort_values('seed')
    for column, what in (('score', f'{metric}, %'), ('log_loss', 'log loss')):
        if column == 'log_loss' and family != 'many': continue
        better = -1 if column == 'log_loss' else 1
        plain = max(plains, key=lambda o: better*o[column].mean()).sort_values('seed')             # noqa: B023
        equal = all(np.array_equal(plain[o], runs[o], equal_nan=True) for o in ('score', 'log_loss'))
        a, b = (o[column].to_numpy() for o in (plain, runs))
        c = paired(a, b)
        low, high = c.interval
        verdict = 'same' if equal else 'gain' if min(better*low, better*high) > 0 else 'loss' if max(better*low, better*high) < 0 else 'undecided'
        out.append(dict(card=card, family=family, setup=name, task=task, budget=budget, metric=what, beside=SETUPS[family][1], seeds=len(a), lr=lr,
                        plain_epochs=int(plain.epochs.iloc[0]), as_long=int(plains[0].epochs.iloc[0]), epochs=int(runs.epochs.iloc[0]), in_all=int(runs.in_all.median()), cost=cost, plain=a.mean(), plain_se=a.std(ddof=1)/len(a)**.5,
                        score=b.mean(), score_se=b.std(ddof=1)/len(b)**.5, gain=c.difference, gain_se=c.se, low=low, high=high,
                        verdict=verdict, shown=text(c, verdict, 3 if column == 'log_loss' else 2)))
    return out


def begin():
    "In each process"
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    atexit.register(gc.unfreeze)
    gc.freeze()          # recipes that collect garbage would look through all that is imported, which takes as long as some of these trainings
    frame = list_opts()
    OPT_LR.update({f'opt_func({n!r})': float(frame.lr[n]) for n in frame.index})


def median_ratio(runs, plain):
    "Of the seconds, paired by seed"
    return round(float((runs.set_index('seed').seconds/plain.set_index('seed').seconds).median()), 3)


def main():
    p = parser(__doc__, 'setups', list(dict.fromkeys(n for o in SETUPS.values() for n in o[3])))
    p.add_argument('--seeds', type=int, default=10, help='at least 2, for a standard error')
    p.add_argument('--processes', type=int, default=2)
    p.add_argument('--costs', help='an evidence.csv whose costs are used again, so that nothing depends on the clock')
    args = p.parse_args()
    if args.seeds < 2: p.error('at least 2 seeds are needed, for a standard error')
    begin()
    began = time.perf_counter()
    def said(what): print(f'{what}: {time.perf_counter() - began:.0f} s', flush=True)
    results = Results(args, 'evidence', 'key', machine(PACKAGES) | dict(processes=str(args.processes), seeds=str(args.seeds)), args.setups)
    chosen = []
    for family, (tasks, *_, setups) in SETUPS.items():
        names = [n for n in setups if not args.setups or n in args.setups]
        chosen += [(family, task, names) for task in (list(tasks)[:1] if args.quick else tasks) if names]
    known = {(o.family, o.task, o.setup, o.budget): o.cost for o in pd.read_csv(args.costs).itertuples()} if args.costs else None
    if known is not None and (missing := [o for f, t, names in chosen for n in names for b in ('epochs', 'time') if (o := (f, t, n, b)) not in known]):
        p.error(f'{args.costs} has no costs of {missing[0]} and {len(missing) - 1} more')
    def epochs_of(family, task): return QUICK if args.quick else SETUPS[family][0][task].epochs
    with pool_of(args.processes, begin) as pool:
        rates = rates_of(pool, chosen, epochs_of, args.quick)
        said('rates')
        def jobs(plan): return [(f, t, seed, todo) for seed in range(args.seeds) for f, t, names in chosen if (todo := plan(f, t, names))]
        found = collect(pool, jobs(lambda f, t, names: [(n, rate(rates, f, t, n), epochs_of(f, t)) for n in (SETUPS[f][1], *names)]))
        said('as many epochs')
        mine = {k: o for k, o in found.groupby(['family', 'task', 'setup'])}
        def cost(f, t, n, budget, plain): return known[f, t, n, budget] if known else median_ratio(mine[f, t, n], plain)
        def as_long(f, t, n): return max(1, round(epochs_of(f, t)*NEAR**round(math.log(cost(f, t, n, 'epochs', mine[f, t, SETUPS[f][1]]), NEAR))))
        found = collect(pool, jobs(lambda f, t, names: [(SETUPS[f][1], rate(rates, f, t, SETUPS[f][1]), e) for e in sorted({as_long(f, t, n) for n in names} - {epochs_of(f, t)})]), found)
        said('as much time')
    beside = {k: o for k, o in found.groupby(['family', 'task', 'setup', 'epochs'])}
    rows = []
    for f, t, names in chosen:
        tasks, base, _, setups = SETUPS[f]
        for n in names:
            equal, long = (beside[f, t, base, e] for e in (epochs_of(f, t), as_long(f, t, n)))
            for budget, plains in (('epochs', [equal]), ('time', [long] if as_long(f, t, n) < epochs_of(f, t) else [long, equal])):
                rows += summary(mine[f, t, n], plains, budget, f, t, n, setups[n][0], rate(rates, f, t, n), cost(f, t, n, budget, plains[0]), tasks[t].metric)
    frame = pd.DataFrame(rows)
    frame.insert(0, 'key', frame.family + ' | ' + frame.setup)
    digits = {o: 4 for o in frame.columns if frame[o].dtype == float and o != 'lr'}
    results.store(frame.round(digits))
    shown = frame[['task', 'setup', 'budget', 'plain_epochs', 'cost', 'plain', 'score', 'gain', 'low', 'high', 'verdict']]
    print(shown.round(2).to_string())
    print('core seconds of each family:', found.groupby('family').seconds.sum().round().to_dict())
    said('in all')


if __name__ == '__main__': main()
