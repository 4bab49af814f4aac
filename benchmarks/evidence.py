"""What each callback and recipe gains and loses on real data that ships with scikit-learn, over seeds.

Each setup trains beside the plain Learner of the same seed, which decides the split, the initial weights and the order of the batches.
Twice: with as many epochs; and with as much time, that is with fewer (or more) epochs by the setup's cost per epoch, the median over seeds
of its seconds divided by the plain ones. The plain Learner is `fit_one_cycle` with Adam; its rate for each task is the best of a sweep
over other seeds, and all setups use it, but for other optimizers, which have as long a sweep of their own.
Writes evidence.csv and evidence_machine.csv beside this file; pages.py makes the page and the picture of them, and each method card
shows its rows. `--costs evidence.csv` takes the costs from an earlier run, which then is repeated to the digit.
"""
import contextlib
import io
import logging
import math
import multiprocessing
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
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import set_seed
from sklearn import datasets
from sklearn.metrics import f1_score
from torch import nn

from common import machine, parser, store
from fastai_recipes.all import (AWP, EMA, SAM, SWA, BatchLossFilter, Ensemble, FocalLoss, Fp16Guard, Rollback, SkipNonFinite, WeightedSampling, class_weights,
                                cross_validate, opt_func, paired, snapshot_ensemble, soup)
from fastai_recipes.core import copied_learner, is_validation
from fastai_recipes.testing import CPUMixedPrecision, small_convnet, toy_dls

PACKAGES = ['fastai', 'fastcore', 'torch', 'scikit-learn', 'timm', 'pytorch_optimizer', 'numpy']
RATES = 3e-3, 1e-2, 3e-2, 1e-1       # of the sweep
TIMES = 1., 3., 10., 30.             # the suggested rate, of the sweep of another optimizer
QUICK = 2                            # epochs, of --quick
SWEEP_SEEDS = 1000, 1001, 1002       # which no row uses


# --- tasks: training and test set of a seed, and a net

@cache
def loaded(name):
    x, y = (torch.as_tensor(o) for o in getattr(datasets, f'load_{name}')(return_X_y=True))
    if name == 'digits': return x.float().view(-1, 1, 8, 8)/8 - 1, y
    x = x.float()
    return (x - x.mean(0))/x.std(0), (y > y.median()).long() if name == 'diabetes' else y


class Task:
    "A data set, how many items are for training, and what is done to them"
    metric = 'accuracy'
    def __init__(self, data, n_train, bs=32, epochs=12, classes=None, thin=None, wrong=0., poison=0., before=None):
        self.data, self.n_train, self.bs, self.epochs, self.classes = data, n_train, bs, epochs, classes
        self.thin, self.wrong, self.poison, self.before = thin, wrong, poison, before
        if thin: self.metric = 'macro-F1'

    def sets(self, seed, classes=None, n_train=None):
        gen, (x, y) = torch.Generator().manual_seed(seed), loaded(self.data)
        classes = classes or self.classes
        if classes:
            keep = torch.isin(y, torch.tensor(classes))
            x, y = x[keep], torch.searchsorted(torch.tensor(classes), y[keep])
        order = torch.randperm(len(x), generator=gen)
        n = n_train or self.n_train
        train, test = (x[order[:n]], y[order[:n]]), (x[order[n:]], y[order[n:]])
        if self.thin:                                   # as a geometric series from the first class to the last
            n_classes, many = int(y.max()) + 1, int(torch.bincount(train[1]).max())
            sizes = [max(2, round(many*self.thin**(-c/(n_classes - 1)))) for c in range(n_classes)]
            keep = torch.cat([(train[1] == c).nonzero()[:k, 0] for c, k in enumerate(sizes)])
            train = train[0][keep], train[1][keep]
        if self.wrong:
            new = torch.randint(0, int(y.max()) + 1, train[1].shape, generator=gen)
            train = train[0], torch.where(torch.rand(len(new), generator=gen) < self.wrong, new, train[1])
        if self.poison:
            bad = torch.rand(len(train[0]), generator=gen) < self.poison
            bad[0] = True
            train = torch.where(bad.view(-1, *[1]*(x.ndim - 1)), math.nan, train[0]), train[1]
        return train, test

    def net(self, n_out):
        if self.data == 'digits': return small_convnet(n_out, dropout=.2)
        width = loaded(self.data)[0].shape[1]
        def layer(i, o): return nn.Sequential(nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(.1))
        return nn.Sequential(nn.Sequential(layer(width, 64), layer(64, 32)), nn.Linear(32, n_out))


def cut(*parts):
    "A splitter: one group for each layer of a net of body and head"
    body, head = parts[0].children()
    return [list(o.parameters()) for o in body.children() if list(o.parameters())] + [list(head.parameters())]


GENERAL = {'digits': Task('digits', 300), 'digits, 20 % wrong labels': Task('digits', 300, wrong=.2),
           'breast cancer': Task('breast_cancer', 150), 'diabetes, above the median': Task('diabetes', 220)}
IMBALANCE = {'digits, 100:1': Task('digits', 900, thin=100), 'breast cancer, 10:1': Task('breast_cancer', 300, thin=10), 'wine, 10:1': Task('wine', 90, bs=16, thin=10)}
LOW, HIGH = list(range(5)), list(range(5, 10))
TRANSFER = {'digits 0-4 to 5-9, 50 images': Task('digits', 50, bs=10, classes=HIGH, before=LOW),
            'digits 0-4 to 5-9, 100 images': Task('digits', 100, bs=10, classes=HIGH, before=LOW),
            'digits 5-9 to 0-4, 50 images': Task('digits', 50, bs=10, classes=LOW, before=HIGH)}
BROKEN = {'digits, 1 % NaN': Task('digits', 300, poison=.01), 'breast cancer, 1 % NaN': Task('breast_cancer', 150, poison=.01),
          'diabetes, 1 % NaN': Task('diabetes', 220, poison=.01)}
FAST = {f'{name}, rate of 100': Task(o.data, o.n_train) for name, o in GENERAL.items() if not o.wrong}
MANY = {k: GENERAL[k] for k in ('digits', 'breast cancer', 'diabetes, above the median')}


class Run:
    "One training of a setup: a seed of a task, its rate, and how many epochs it may take"
    def __init__(self, task, seed, lr, epochs):
        self.task, self.seed, self.lr, self.epochs = task, seed, lr, epochs
        self.train, self.test = task.sets(seed)
        self.n_out, self.charged = int(self.test[1].max()) + 1, 0.

    def learner(self, cbs=(), loss=None, seed=0, train=None, valid=None, **kwargs):
        set_seed(self.seed + 100_000*seed)
        dls = toy_dls(*(train or self.train), valid=valid or self.test, bs=self.task.bs, shuffle=True)
        dls.c = self.n_out
        return Learner(dls, self.task.net(self.n_out), loss_func=loss or CrossEntropyLossFlat(), splitter=cut, cbs=[*cbs, NoValidation()], **kwargs)

    def one_cycle(self, learn, epochs=None):
        learn.fit_one_cycle(epochs or self.epochs, self.lr)
        return learn


class NoValidation(Callback):
    "The test set is looked at once, after the training"
    order = -100
    def before_validate(self):
        if not is_validation(self.learn): raise CancelValidException


def with_cbs(*makes, **kwargs): return lambda run: run.one_cycle(run.learner([o() for o in makes], **kwargs))
def with_loss(make): return lambda run: run.one_cycle(run.learner(loss=make(run.train[1])))


def fitted(fit, cbs=(), **kwargs):
    def train(run):
        learn = run.learner([o() for o in cbs], **kwargs)
        fit(learn, run)
        return learn
    return train


def restarts(learn, run):
    "Three whole cycles, so up to two epochs fewer than there are"
    n = min(3, run.epochs)
    learn.fit_cos_restarts(n, max(1, run.epochs//n), run.lr)


def found_rate(learn, run): learn.fit_one_cycle(run.epochs, learn.find_lr(show_plot=False))


# --- recipes for transfer and for many models

@cache
def pretrained(before, seed):
    "A net's weights after the other digits"
    task = Task('digits', 700, classes=list(before))
    run = Run(task, seed, 1e-2, 5)
    return run.one_cycle(run.learner()).model.state_dict()


def transfer(train, scratch=False):
    def go(run):
        learn = run.learner()
        if not scratch:
            head = {k: v.clone() for k, v in learn.model[1].state_dict().items()}
            learn.model.load_state_dict(pretrained(tuple(run.task.before), run.seed))
            learn.model[1].load_state_dict(head)
        return train(learn, run) or learn
    return go


def fine_tune(learn, run):
    first = min(2, run.epochs - 1)
    learn.fine_tune(run.epochs - first, run.lr, freeze_epochs=first)


def stages(learn, run, **kwargs):
    "Two stages of two epochs before the last; of one where there is less time"
    first = 2 if run.epochs > 4 else 1
    learn.fine_tune_stages(**dict(dict(epochs=max(1, run.epochs - 2*first), lr=run.lr, freeze_epochs=first), **kwargs))


def head_only(learn, run):
    sub = learn.fit_head(run.epochs, run.lr, cbs=NoValidation())
    learn.model[1].load_state_dict(sub.model.state_dict())


MEMBERS, MADE = 5, {}
def ensemble(run, how='mean'):
    "The members of a seed are trained once; whoever uses them again is charged their time"
    key = run.task.data, run.seed, run.lr, run.epochs
    if key in MADE: run.charged += MADE[key][1]
    else:
        MADE.clear()
        began = time.process_time()
        MADE[key] = [run.one_cycle(run.learner(seed=i)) for i in range(MEMBERS)], time.process_time() - began
    return Ensemble(MADE[key][0], how)


def folds(run):
    found = cross_validate(lambda a, b: run.learner(train=[o[a] for o in run.train], valid=[o[b] for o in run.train]), len(run.train[0]), MEMBERS, run.train[1],
                           fit=partial(run.one_cycle), seed=run.seed)
    return found.ensemble()


def snapshots(run):
    n = min(4, max(2, run.epochs))
    return snapshot_ensemble(run.learner(), n, max(1, run.epochs//n), run.lr)


def distilled(run):
    student = run.learner()
    student.distill(ensemble(run), run.epochs, run.lr)
    return student


def souped(run):
    "A common start of two thirds of the epochs, then the rest five times"
    last = max(1, run.epochs//3)
    start, tuned = run.one_cycle(run.learner(), max(1, run.epochs - last)), []
    for i in range(MEMBERS):
        set_seed(run.seed + 100_000*i)
        learn = copied_learner(start)
        tuned.append(run.one_cycle(learn, last))
    return soup(tuned)


# --- setups: for each family of tasks what is compared with what; the card that shows the row

PLAIN, BACK = with_cbs(), partial(Rollback, every=10, threshold=2., lr_mult=.001)
SETUPS = {
    'general': (GENERAL, 'plain', PLAIN, {
        'SAM()': ('sam', with_cbs(SAM)), 'SAM(0.2)': ('sam', with_cbs(partial(SAM, .2))), 'SAM(1, adaptive=True)': ('sam', with_cbs(partial(SAM, 1., adaptive=True))),
        'EMA()': ('averaging', with_cbs(EMA)), 'SWA()': ('averaging', with_cbs(SWA)), 'SAM() and EMA()': ('sam averaging', with_cbs(SAM, EMA)),
        'AWP(0.01, start=0.2)': ('awp', with_cbs(partial(AWP, 1e-2, start=.2))),
        'BatchLossFilter(0.5, start=0.2)': ('batch_filter', with_cbs(partial(BatchLossFilter, .5, start=.2))),
        "BatchLossFilter(0.5, start=0.2, mode='mask')": ('batch_filter', with_cbs(partial(BatchLossFilter, .5, start=.2, mode='mask'))),
        'BatchLossFilter(1, drop=0.2, start=0.2)': ('batch_filter', with_cbs(partial(BatchLossFilter, 1., drop=.2, start=.2))),
        'SkipNonFinite()': ('guards', with_cbs(SkipNonFinite)), 'Rollback()': ('guards', with_cbs(Rollback)),
        'fit_flat_swa': ('schedules', fitted(lambda learn, run: learn.fit_flat_swa(run.epochs, run.lr))),
        'fit_warmup_cos': ('schedules', fitted(lambda learn, run: learn.fit_warmup_cos(run.epochs, run.lr))),
        'fit_cos_restarts': ('schedules', fitted(restarts)),
        'fit_plateau': ('schedules', fitted(lambda learn, run: learn.fit_plateau(run.epochs, run.lr, monitor='train_loss', tail=.2))),
        'the rate of find_lr()': ('transfer', fitted(found_rate)),
        **{f'opt_func({name!r})': ('optimizers', with_cbs(opt_func=opt_func(name))) for name in ('ranger', 'lion', 'adabelief')}}),
    'imbalance': (IMBALANCE, 'plain', PLAIN, {
        "WeightedSampling('sqrt')": ('weighting', with_cbs(partial(WeightedSampling, 'sqrt'))),
        "WeightedSampling('balanced')": ('weighting', with_cbs(partial(WeightedSampling, 'balanced'))),
        "WeightedSampling('balanced', schedule=SchedLin(0, 1))": ('weighting', with_cbs(partial(WeightedSampling, 'balanced', schedule=SchedLin(0, 1)))),
        "class_weights('sqrt') in the loss": ('weighting losses', with_loss(lambda y: CrossEntropyLossFlat(weight=class_weights(y, 'sqrt')))),
        "class_weights('inverse') in the loss": ('weighting losses', with_loss(lambda y: CrossEntropyLossFlat(weight=class_weights(y, 'inverse')))),
        'FocalLoss()': ('weighting losses', with_loss(lambda y: FocalLoss())),
        "FocalLoss(weight=class_weights('sqrt'))": ('weighting losses', with_loss(lambda y: FocalLoss(weight=class_weights(y, 'sqrt'))))}),
    'transfer': (TRANSFER, 'fine_tune', transfer(fine_tune), {
        'from scratch': ('transfer', transfer(lambda learn, run: run.one_cycle(learn), scratch=True)),
        'fine_tune_stages()': ('transfer', transfer(stages)),
        'fine_tune_stages(freeze_bn=True)': ('transfer', transfer(partial(stages, freeze_bn=True))),
        "fine_tune_stages(lr='find')": ('transfer', transfer(partial(stages, lr='find'))),
        'fit_head()': ('transfer', transfer(head_only))}),
    'many': (MANY, 'one model', PLAIN, {
        f'ensemble of {MEMBERS}': ('ensemble', ensemble), f'ensemble of {MEMBERS}, geometric': ('ensemble', partial(ensemble, how='geometric')),
        f'{MEMBERS} folds as an ensemble': ('ensemble', folds), 'snapshots of 4 cycles': ('ensemble', snapshots),
        'distilled from the ensemble': ('ensemble', distilled), f'soup of {MEMBERS} fine-tunings': ('ensemble', souped)}),
    'broken': (BROKEN, 'plain', PLAIN, {'SkipNonFinite()': ('guards', with_cbs(SkipNonFinite))}),
    'rate': (FAST, 'plain', PLAIN, {
        'Rollback(every=10, threshold=2, lr_mult=0.001)': ('guards', with_cbs(BACK)),
        'float16 with Fp16Guard(), SkipNonFinite() and that Rollback': ('guards', with_cbs(CPUMixedPrecision, Fp16Guard, SkipNonFinite, BACK))}),
}


# --- measuring

def scores(run, model):
    "On the test set, in %: the task's metric, and the log loss"
    net = model if isinstance(model, Ensemble) else None
    if net is not None:
        preds = net.get_preds(dl=toy_dls(*run.test, bs=256).valid)[0]
    else:
        model.model.eval()
        with torch.no_grad(): preds = model.model(run.test[0]).softmax(1)
    y = run.test[1]
    if not preds.isfinite().all(): guess = torch.zeros_like(y)                    # a broken net has no opinion; it gets the first class
    else: guess = preds.argmax(1)
    score = f1_score(y, guess, average='macro') if run.task.metric == 'macro-F1' else (guess == y).float().mean().item()
    return 100*float(score), F.nll_loss(preds.clamp_min(1e-15).log(), y).item()


def train(setup, task, seed, lr, epochs):
    "Score, log loss, seconds of the processor: with one thread those of the clock, but for what else runs on the machine"
    run = Run(task, seed, lr, epochs)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if task.before: pretrained(tuple(task.before), seed)                         # not part of what is timed
        began = time.process_time()
        model = setup(run)
        took = time.process_time() - began + run.charged
        return *scores(run, model), took


def work(job):
    "All setups of a task with one seed take turns: `job` is the family, the task and the seed, and for each setup its rate and epochs"
    family, task, seed, plan = job
    tasks, base, plain, setups = SETUPS[family]
    made = {base: plain} | {k: v for k, (_, v) in setups.items()}
    return [(family, task, seed, name, epochs, *train(made[name], tasks[task], seed, lr, epochs)) for name, (lr, epochs) in plan.items()]


def swept(job):
    "Mean log loss of a setup at a rate, over the sweep's seeds"
    family, task, name, lr, epochs = job
    tasks, base, plain, setups = SETUPS[family]
    setup = plain if name == base else setups[name][1]
    seeds = SWEEP_SEEDS[:1] if epochs == QUICK else SWEEP_SEEDS
    return *job, np.mean([train(setup, tasks[task], seed, lr, epochs)[1] for seed in seeds])


def own_rates(name): return name.startswith('opt_func')


def like(family, task):
    "Whose sweep a task uses: the same data in good order"
    if family not in ('broken', 'many'): return family, task
    return 'general', next(n for n, o in GENERAL.items() if o.data == SETUPS[family][0][task].data and not o.wrong)


def rates_of(pool, chosen, epochs_of, quick):
    "The best rate for each task, by the log loss of the plain setup; for each other optimizer its own, from as many around the one it suggests"
    jobs, wanted = [], {}
    for family, task, names in chosen:
        if family != 'rate': wanted.setdefault(like(family, task), {SETUPS[like(family, task)[0]][1]: 1}).update(dict.fromkeys(filter(own_rates, names)))
    for (family, task), names in wanted.items():
        for name in names:
            suggested = opt_func(name.split("'")[1]) if own_rates(name) else None
            rates = RATES if suggested is None else [OPT_LR[name]*o for o in TIMES]
            jobs += [(family, task, name, float(o), epochs_of(family, task)) for o in (rates[1:2] if quick else rates)]
    best = {}
    for family, task, name, lr, _, loss in pool.imap_unordered(swept, jobs):
        key = family, task, name
        loss = loss if math.isfinite(loss) else math.inf
        if key not in best or (loss, lr) < best[key]: best[key] = loss, lr
    return {k: lr for k, (_, lr) in best.items()}


def rate(rates, family, task, name):
    if family == 'rate': return 100.
    family, task = like(family, task)
    return rates.get((family, task, name), rates[family, task, SETUPS[family][1]])


def collect(pool, jobs, seconds=None):
    rows = []
    for o in pool.imap_unordered(work, jobs, chunksize=1): rows += o
    return pd.DataFrame(rows, columns=['family', 'task', 'seed', 'setup', 'epochs', 'score', 'log_loss', 'seconds'])


def text(c, verdict, digits):
    "The gain with its interval, and what that says"
    if verdict == 'same': return 'the same'
    low, high = c.interval
    return f'{c.difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})' + ('' if verdict == 'undecided' else f' {verdict}')


def summary(runs, plain, budget, family, task, name, card, lr, cost, metric):
    "A record: both means with standard errors, and the paired gain with its 95 % interval"
    out = []
    for column, what in (('score', f'{metric}, %'), ('log_loss', 'log loss')):
        if column == 'log_loss' and family != 'many': continue
        a, b = (o.sort_values('seed')[column].to_numpy() for o in (plain, runs))
        c = paired(a, b)
        low, high = c.interval
        better = -1 if column == 'log_loss' else 1
        verdict = 'same' if (a == b).all() else 'gain' if min(better*low, better*high) > 0 else 'loss' if max(better*low, better*high) < 0 else 'undecided'
        out.append(dict(card=card, family=family, setup=name, task=task, budget=budget, metric=what, beside=SETUPS[family][1], seeds=len(a), lr=lr,
                        plain_epochs=int(plain.epochs.iloc[0]), epochs=int(runs.epochs.iloc[0]), cost=cost, plain=a.mean(), plain_se=a.std(ddof=1)/len(a)**.5,
                        score=b.mean(), score_se=b.std(ddof=1)/len(b)**.5, gain=c.difference, gain_se=c.se, low=low, high=high, worst=(b - a).min() if better > 0 else (b - a).max(),
                        verdict=verdict, shown=text(c, verdict, 3 if column == 'log_loss' else 2)))
    return out


OPT_LR = {}


class InProcess(contextlib.nullcontext):
    "In the place of a pool of one"
    def __enter__(self): return self
    def imap_unordered(self, func, jobs, **_): return map(func, jobs)


def begin():
    "In each process"
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    from fastai_recipes.all import list_opts
    frame = list_opts()
    OPT_LR.update({f'opt_func({n!r})': frame.lr[n] for n in frame.index})


def main():
    p = parser(__doc__, 'setups', list(dict.fromkeys(n for o in SETUPS.values() for n in o[3])))
    p.add_argument('--seeds', type=int, default=10)
    p.add_argument('--processes', type=int, default=2)
    p.add_argument('--costs', help='an evidence.csv whose costs per epoch are used again, so that nothing depends on the clock')
    args = p.parse_args()
    begin()
    began = time.perf_counter()
    chosen = []
    for family, (tasks, *_, setups) in SETUPS.items():
        names = [n for n in setups if not args.setups or n in args.setups]
        chosen += [(family, task, names) for task in (list(tasks)[:1] if args.quick else tasks) if names]
    known = {}
    if args.costs: known = {(r.family, r.task, r.setup): r.cost for r in pd.read_csv(args.costs).itertuples()}
    def epochs_of(family, task): return QUICK if args.quick else SETUPS[family][0][task].epochs
    with multiprocessing.get_context('fork').Pool(args.processes, begin) if args.processes > 1 else InProcess() as pool:
        rates = rates_of(pool, chosen, epochs_of, args.quick)
        print(f'rates: {time.perf_counter() - began:.0f} s', flush=True)
        def plan(family, task, names): return {n: (rate(rates, family, task, n), epochs_of(family, task)) for n in [SETUPS[family][1], *names]}
        found = collect(pool, [(f, t, seed, plan(f, t, names)) for seed in range(args.seeds) for f, t, names in chosen])
        print(f'equal epochs: {time.perf_counter() - began:.0f} s', flush=True)
        costs, again = {}, []
        for family, task, names in chosen:
            here = found[(found.family == family) & (found.task == task)].set_index('seed')
            plain = here[here.setup == SETUPS[family][1]]
            for n in names: costs[family, task, n] = known.get((family, task, n), round(float((here[here.setup == n].seconds/plain.seconds).median()), 3))
            def scaled(n): return max(1, round(epochs_of(family, task)/costs[family, task, n]))       # noqa: B023
            again += [(family, task, seed, {n: (rate(rates, family, task, n), scaled(n)) for n in names if scaled(n) != epochs_of(family, task)}) for seed in range(args.seeds)]
        timed = collect(pool, [o for o in again if o[3]])
    rows = []
    for family, task, names in chosen:
        tasks, base, _, setups = SETUPS[family]
        here, fast = (o[(o.family == family) & (o.task == task)] for o in (found, timed))
        plain = here[here.setup == base]
        for n in names:
            mine, quick = here[here.setup == n], fast[fast.setup == n]
            for budget, runs in (('epochs', mine), ('time', quick if len(quick) else mine)):
                rows += summary(runs, plain, budget, family, task, n, setups[n][0], rate(rates, family, task, n), costs[family, task, n], tasks[task].metric)
    frame = pd.DataFrame(rows)
    frame.insert(0, 'key', frame.family + ' | ' + frame.setup)
    digits = {o: 4 for o in frame.columns if frame[o].dtype == float}
    store(args.out, 'evidence', frame.round(digits), 'key', machine(PACKAGES) | dict(processes=str(args.processes)))
    shown = frame[['task', 'setup', 'budget', 'epochs', 'cost', 'plain', 'score', 'gain', 'low', 'high', 'verdict']]
    print(shown.round(2).to_string())
    print(f'in all: {time.perf_counter() - began:.0f} s')


if __name__ == '__main__': main()
