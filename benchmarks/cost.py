"""What each callback and recipe costs, beside what people would use in its place.

Ours and the peer take turns in one process, so that a busy machine slows both; a row is the median over rounds of the paired ratios,
with its quartiles. Import times are those of fresh processes; trials, synchronisations and bytes are counted, not timed.
Writes cost.csv, cost_growth.csv and cost_machine.csv beside this file; pages.py makes the page and the picture of them.

On a GPU: python benchmarks/cost.py --device cuda --model resnet50 --size 224 --bs 64 --precision bf16 --out benchmarks/cuda_bf16
"""
import gc
import io
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from functools import partial

import fastai.callback.fp16  # noqa: F401  gives Learner `to_fp16` and `to_bf16`
import fastai.callback.progress  # noqa: F401  gives Learner `no_bar`
import numpy as np
import pandas as pd
import timm
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelValidException
from fastai.callback.data import WeightedDL
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import SGD
from fastai.torch_core import set_seed
from fastcore.basics import noop
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils._python_dispatch import TorchDispatchMode

from common import Results, machine, parser
from fastai_recipes.all import (AWP, EMA, SAM, SWA, BatchLossFilter, Checkpoint, Fp16Guard, Rollback, SkipNonFinite,
                                WeightedSampling)
from fastai_recipes.callbacks.averaging import reestimate_bn_
from fastai_recipes.core import autocast_of
from fastai_recipes.testing import counted, quiet, toy_dls

PACKAGES = ['fastai', 'fastcore', 'torch', 'timm', 'pytorch_optimizer', 'ema-pytorch', 'torch-ema', 'accelerate', 'lightning', 'numpy']
LR = 1e-3
# What the project asks of each row, as a ratio unless the text says otherwise
TARGETS = {
    'SAM, fastai / bare loop': 1.02,
    'SAM()': 2.05, 'SAM(every=2)': 1.55, 'SAM(every=5)': 1.23,
    'EMA update / timm': 1.0, 'EMA share of a step': .015,
    'SWA update / torch': 1.0, 'BatchNorm refresh / torch': 1.0,
    'BatchLossFilter(0.5)': .88, 'BatchLossFilter(0.3)': .72, "BatchLossFilter(0.5, mode='mask')": 1.02,
    'SkipNonFinite()': 1.01, 'Rollback(every=50)': 1.02, "Checkpoint(every='epoch')": 1.02,
    'WeightedSampling, 1M items / fastai': .3,
    'max_bs / accelerate, trials': .5,
    'bs_find, copies of the gradients': 3.0,
    'import beyond fastai': .05,
}
SLOPE = 1.05     # no worse than linear, with room for noise
# Where a target is missed: the limit that stops it, from the other rows
WHY = {
    'SAM, fastai / bare loop': lambda r: f"fastai's loop calls some 40 events in each step, ours take two passes as the peer's do; SAM() beside fastai's own plain step is at {r['SAM()']:.2f}.",
    'SAM()': lambda r: f"two forward and backward passes are 2.00; the rest is three passes over the weights (copy, climb, put back), and one pass, {r['bare arithmetic share of a step']:.1%} of a step here, is bound by the memory.",
    'SAM(every=2)': lambda r: f"1.5 is the passes alone; a whole SAM step is at {r['SAM()']:.2f}.",
    'SAM(every=5)': lambda r: f"1.2 is the passes alone; a whole SAM step is at {r['SAM()']:.2f}.",
    'EMA update / timm': lambda r: f"the arithmetic alone, one `torch._foreach_lerp_` over the parameters, is {1/r['EMA update / bare arithmetic']:.0%} of our update.",
    'EMA share of a step': lambda r: f"one bare `torch._foreach_lerp_` over the parameters after each step is {r['bare lerp, own time']:.1%} of a step here, when they are no longer in the processor's cache. The update is the same for a batch of any size: at twice the width and height of the images it is {r['EMA share, twice the size']:.1%} of a step.",
    'SWA update / torch': lambda r: "both read and write the weights once; the rest is in how many operations.",
    'BatchNorm refresh / torch': lambda r: f"both are forward passes over the same batches; ours also looks whether each batch's statistics are finite, and leaves those out that are not. With a net whose forward pass does nothing, ours takes {r['BatchNorm refresh, beyond the passes']:.2%} of this time longer than torch's; what is beyond that is the noise of the machine (see the quartiles).",
    'BatchLossFilter(0.5)': lambda r: f"the choosing pass is {r['forward pass, share of a step']:.2f} of a step and half of the batch at least 0.5, in all {.5 + r['forward pass, share of a step']:.2f}; small batches use the processor less well.",
    'BatchLossFilter(0.3)': lambda r: f"the choosing pass is {r['forward pass, share of a step']:.2f} of a step and 0.3 of the batch at least 0.3, in all {.3 + r['forward pass, share of a step']:.2f}; small batches use the processor less well.",
    "BatchLossFilter(0.5, mode='mask')": lambda r: 'the loss is computed twice, once for each sample to choose and once over the chosen, and nothing else is added; the rest is the noise of the machine (see the quartiles).',
    'SkipNonFinite()': lambda r: f"its own events take {r['SkipNonFinite, own time']:.1%} of a step; to read each gradient once, as a callback does that only sums them, takes {r['bare sum, own time']:.1%}: after a backward pass they are no longer in the processor's cache. That is the same for a batch of any size: at twice the width and height of the images it is {r['SkipNonFinite, twice the size']:.1%} of a step.",
    'Rollback(every=50)': lambda r: f"its own events take {r['Rollback, own time']:.1%} of the time: a copy of weights and optimizer state after 50 steps, and the look at the loss in each. What is beyond that is the noise of the machine (see the quartiles).",
    "Checkpoint(every='epoch')": lambda r: f"its own events take {r['Checkpoint, own time']:.1%} of an epoch of only 50 steps, which write a file of weights and optimizer state and flush it to the disk; what is beyond that is the steps after it, and the noise of the machine (see the quartiles). Both fall in proportion to the length of the epoch.",
    'WeightedSampling, 1M items / fastai': lambda r: 'drawing is one pass of random numbers, a sorted search and a shuffle.',
    'max_bs / accelerate, trials': lambda r: f"accelerate stops at the first size that fits, from above, at {r['accelerate, size found']:.0%} of what fits in the median; max_bs looks on until it knows the largest to the item.",
    'bs_find, copies of the gradients': lambda r: "the batch's gradient, the sum over all batches and the sum over the present block are three; the rest is temporary.",
    'import beyond fastai': lambda r: f"with the collection of garbage put off, in which Python looks through what fastai has loaded, it is {r['import, no collection']:.1%}.",
}
# Callbacks without a row of their own, and why; `make new` puts a new callback into MORE
NOT_MEASURED = {
    'Fp16Guard': 'acts once in a fit, before its first batch',
    'GradientNoise': 'runs both halves of a batch once more in each `every`-th step: with `every=20` 2 passes more in 20 steps',
    'LayerStats': 'reads the layers in each `every`-th step only; its notebook counts the operations',
}
MORE = {
}
# Peers that cannot be beside us, and why
ABSENT = {
    'mosaicml 0.32.1': 'pip would put torch 2.7.0, torchvision 0.22.0 and numpy 2.2.6 in the place of the newer ones that fastai runs on here',
    'fastxtend 0.1.7': "installs, and fails at import: `ImportError: Could not import '__path__' from fastcore.dispatch - this module has been moved to the fasttransform package`",
}


class Bench:
    "Where and on what the rows are measured"
    def __init__(self, args):
        self.device, self.precision, self.quick = args.device, args.precision, args.quick
        self.model, self.size, self.bs = ('test_resnet', 32, 8) if args.quick else (args.model, args.size, args.bs)
        self.rounds = args.rounds

    def net(self): return timm.create_model(self.model, num_classes=10)

    def dls(self, n, size=None, bs=None, made=True):
        "`n` batches; `made` beforehand on a GPU, where to put them together and to send them takes as long as some of the steps"
        size, bs = size or self.size, bs or self.bs
        x, y = torch.randn(n*bs, 3, size, size), torch.randint(0, 10, (n*bs,))
        dls = toy_dls(x, y, valid=(x[:2], y[:2]), bs=bs)
        dls.device = torch.device(self.device)
        if self.device == 'cuda' and made:
            batches = list(zip(*(o.to('cuda').split(bs) for o in (x, y)), strict=True))
            dls.train.create_batches = lambda samps: iter(batches)
        return dls

    def learner(self, cbs=(), n=10, net=None, dls=None, size=None, bs=None):
        "A Learner whose epochs have `n` steps and no validation"
        set_seed(0)
        dls = dls or self.dls(n, size, bs)
        learn = Learner(dls, (net or self.net()).to(self.device), loss_func=CrossEntropyLossFlat(), opt_func=partial(SGD, mom=.9),
                        path=tempfile.gettempdir(), cbs=[cb() for cb in cbs] + [NoValidation()])
        if self.precision == 'fp16': learn.to_fp16()
        if self.precision == 'bf16': learn.to_bf16()
        return learn

    def wait(self):
        if self.device == 'cuda': torch.cuda.synchronize()

    def turns(self, actions, rounds=None, warm=1):
        "Seconds of each action in each round; each begins in turn, as the first of a round may find another cache than the last"
        found, names = {name: [] for name in actions}, list(actions)
        for i in range((rounds or self.rounds) + warm):
            for name in names[i % len(names):] + names[:i % len(names)]:
                self.wait()
                began = time.perf_counter()
                seconds = actions[name]()
                self.wait()
                if i >= warm: found[name].append(time.perf_counter() - began if seconds is None else seconds)
        return {name: np.array(o) for name, o in found.items()}


class NoValidation(Callback):
    order = -100
    def before_validate(self): raise CancelValidException


class Fit:
    "One long fit, an epoch at each call: so what is done once in a fit is not counted in each turn"
    def __init__(self, learn, epochs=100_000):
        self.learn, self.epoch = learn, 0
        with quiet(learn): learn.fit(1, LR)
        for cb in [o for o in learn.cbs if o.name == 'progress']: learn.remove_cb(cb)
        learn.logger = noop
        learn.opt.set_hypers(lr=LR)
        learn.n_epoch = epochs
        learn('before_fit')

    def __call__(self):
        self.learn.epoch = self.epoch
        self.learn._with_events(self.learn._do_epoch, 'epoch', CancelEpochException)
        self.epoch += 1


def timed(make):
    "A callback that adds up the time it spends in its own events while training, on a CPU"
    def made():
        cb, cls = make(), type(make())
        def call(self, event):
            began = time.perf_counter()
            try: return cls.__call__(self, event)
            finally:
                if event not in ('before_fit', 'after_fit'): self.own = self.own + time.perf_counter() - began
        object.__setattr__(cb, '__class__', type(cls.__name__, (cls,), {'__call__': call, 'own': 0.}))   # fastai's would warn
        return cb
    return made


def watched(fit):
    "The same turns, and a list of which part of each one's remaining time a timed callback spends in its own events"
    cb, found = fit.learn.cbs.filter(lambda o: hasattr(o, 'own'))[0], []
    def turn():
        cb.own, began = 0., time.perf_counter()
        fit()
        seconds = time.perf_counter() - began
        found.append(cb.own/(seconds - cb.own))
        return seconds
    return turn, found


def own_share(bench, make, n, rounds=None, size=None):
    turn, found = watched(Fit(bench.learner([timed(make)], n, size=size)))
    bench.turns({'own': turn}, rounds)
    return found[1:]


def ratio(row, what, ours, beside, theirs, unit='ms', n=1):
    "A record of the median of the paired ratios; `n` steps were timed together"
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    q25, mid, q75 = np.quantile(ours/theirs, [.25, .5, .75])
    scale = 1e3/n if unit == 'ms' else 1
    return dict(row=row, what=what, beside=beside, ratio=mid, q25=q25, q75=q75, rounds=len(ours),
                ours=scale*np.median(ours), theirs=scale*np.median(theirs), unit=unit)


def share(row, what, values, beside='the rest of the step'):
    q25, mid, q75 = np.quantile(values, [.25, .5, .75])
    return dict(row=row, what=what, beside=beside, ratio=mid, q25=q25, q75=q75, rounds=len(values), unit='share')


def number(row, what, value, beside, theirs, unit):
    "A record of what was counted"
    return dict(row=row, what=what, beside=beside, ratio=value/theirs, q25=value/theirs, q75=value/theirs, rounds=1, ours=value, theirs=theirs, unit=unit)


# --- the rows

def sam_peer(bench):
    "fastai's loop with SAM beside a bare loop with pytorch_optimizer's"
    from pytorch_optimizer import SAM as PeerSAM, LookSAM
    if bench.precision == 'fp16': return     # pytorch_optimizer's two steps have no form with a GradScaler
    n = 2 if bench.quick else 5
    dls = bench.dls(n)
    fit, net = Fit(bench.learner([SAM], n, dls=dls)), bench.net().to(bench.device).train()
    opt, loss_func = PeerSAM(net.parameters(), torch.optim.SGD, rho=.05, lr=LR, momentum=.9), CrossEntropyLossFlat()
    def loss(x, y):
        with torch.autocast(bench.device, torch.bfloat16, enabled=bench.precision == 'bf16'): return loss_func(net(x), y)
    def bare():
        for x, y in dls.train:
            x, y = x.to(bench.device), y.to(bench.device)
            loss(x, y).backward()
            opt.first_step(zero_grad=True)
            loss(x, y).backward()
            opt.second_step(zero_grad=True)
    t = bench.turns({'ours': fit, 'bare': bare}, bench.rounds*3//2)
    yield ratio('SAM, fastai / bare loop', 'fastai with SAM()', t['ours'], "bare PyTorch loop with pytorch_optimizer's SAM", t['bare'], n=n)
    look = LookSAM(net.parameters(), torch.optim.SGD, rho=.05, k=5, lr=LR, momentum=.9)
    def bare_look():
        for x, y in dls.train:
            x, y = x.to(bench.device), y.to(bench.device)
            loss(x, y).backward()
            if look.get_step() % 5 == 0:
                look.first_step(zero_grad=True)
                loss(x, y).backward()
            look.second_step(zero_grad=True)
    dls = bench.dls(5)
    t = bench.turns({'ours': Fit(bench.learner([partial(SAM, every=5)], 5, dls=dls)), 'bare': bare_look})
    yield ratio('SAM(every=5), fastai / bare loop', 'fastai with SAM(every=5)', t['ours'], "bare PyTorch loop with pytorch_optimizer's LookSAM(k=5), which is another algorithm", t['bare'], n=5)


def steps(bench, setups, n, size=None, rounds=None, own=False):
    "Rows of steps beside plain ones; with `own`, on a CPU, also of the time in the one callback's own events, in the same turns"
    own = own and bench.device == 'cpu'
    def fit(cbs): return Fit(bench.learner([timed(o) for o in cbs] if own else cbs, n, size=size))
    turns, shares = {'plain': fit([])}, {}
    for name, cbs in setups.items():
        if own: turns[name], shares[name] = watched(fit(cbs))
        else: turns[name] = fit(cbs)
    t = bench.turns(turns, rounds)
    for name in setups: yield ratio(name, f'step with {name}', t[name], 'plain step', t['plain'], n=n)
    for name, found in shares.items(): yield share(f"{name.split('(')[0]}, own time", f"all of {name.split('(')[0]}'s events, epochs of {n} steps", found[1:])


def sam(bench):
    yield from steps(bench, {f'SAM({o})': [partial(SAM, every=k)] for k, o in ((1, ''), (2, 'every=2'), (5, 'every=5'))}, 10)
    yield from steps(bench, {'AWP()': [AWP]}, 2)


def more(bench): yield from steps(bench, {f'{name}()': [cls] for name, cls in MORE.items()}, 2)


class Lerps(Callback):
    run_valid, average = False, None
    def after_step(self):
        params = [p.detach() for p in self.model.parameters()]
        self.average = self.average or [p.clone() for p in params]
        torch._foreach_lerp_(self.average, params, 2e-4)


def ema(bench):
    n = 2 if bench.quick else 5
    learn = bench.learner([EMA], n)
    fit, model = Fit(learn), learn.model
    fit()
    cb, params = learn.ema, [p.detach() for p in learn.model.parameters()]
    bare = [p.clone() for p in params]
    actions = {'ours': lambda: cb.update(2e-4), 'bare': lambda: torch._foreach_lerp_(bare, params, 2e-4)}
    v3 = timm.utils.ModelEmaV3(model, decay=.9998, foreach=True)
    actions["timm's ModelEmaV3(foreach=True)"] = lambda: v3.update(model)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(.9998), use_buffers=True)
    actions["torch's AveragedModel(get_ema_multi_avg_fn())"] = lambda: torchs.update_parameters(model)
    import ema_pytorch
    ep = ema_pytorch.EMA(model, beta=.9998, update_after_step=0, update_every=1, use_foreach=True, include_online_model=False)
    actions["ema-pytorch's EMA(use_foreach=True)"] = ep.update
    import torch_ema
    te = torch_ema.ExponentialMovingAverage(model.parameters(), decay=.9998)
    actions["torch-ema's ExponentialMovingAverage"] = te.update
    from lightning.pytorch.callbacks import EMAWeightAveraging
    light = AveragedModel(model, use_buffers=True, **EMAWeightAveraging(decay=.9998)._kwargs)      # what its `setup` makes
    actions["lightning's EMAWeightAveraging"] = lambda: light.update_parameters(model)
    def ten(act):
        for _ in range(10): act()
    t = bench.turns({k: partial(ten, o) for k, o in actions.items()}, 3*bench.rounds)
    names = dict(zip(list(t)[2:], ('timm', 'torch', 'ema-pytorch', 'torch-ema', 'lightning'), strict=True))
    for k, name in names.items(): yield ratio(f'EMA update / {name}', 'update of EMA', t['ours'], k, t[k], n=10)
    yield ratio('EMA update / bare arithmetic', 'update of EMA', t['ours'], 'torch._foreach_lerp_ alone', t['bare'], n=10)
    if bench.device == 'cpu':
        yield share('EMA share of a step', "all of EMA's events in a step", own_share(bench, EMA, n, 2*bench.rounds))
        yield share('bare lerp, own time', 'torch._foreach_lerp_ after each step, and nothing else', own_share(bench, Lerps, n, 2*bench.rounds))
        size = 2*bench.size
        yield share('EMA share, twice the size', f"all of EMA's events in a step, {size} px", own_share(bench, EMA, 2, size=size))
    t = bench.turns({'ours': partial(ten, actions['ours']), 'bare': partial(ten, actions['bare']), 'plain': fit}, 2*bench.rounds)
    if bench.device != 'cpu': yield share('EMA share of a step', 'update of EMA', n/10*t['ours']/t['plain'], 'step')
    yield share('bare arithmetic share of a step', 'torch._foreach_lerp_ alone', n/10*t['bare']/t['plain'], 'step')


def idling(net):
    "The same layers, but a forward pass does nothing"
    net = deepcopy(net)
    net.forward = lambda x: x
    return net


def swa(bench):
    n = 3
    learn = bench.learner([lambda: SWA(start=0., every=1, validate=False, keep='last')], n)
    fit, model = Fit(learn), learn.model
    fit()
    cb, peer = learn.swa, AveragedModel(model)
    def ours():
        for _ in range(10): cb.update(1/(cb.n_updates + 1))
    def theirs():
        for _ in range(10): peer.update_parameters(model)
    t = bench.turns({'ours': ours, 'theirs': theirs}, 3*bench.rounds)
    yield ratio('SWA update / torch', 'update of SWA', t['ours'], "torch's AveragedModel", t['theirs'], n=10)
    dl = [tuple(o.to(bench.device) for o in b) for b in learn.dls.train]
    net = bench.net().to(bench.device)
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()): return
    def both(net):
        def ours(): reestimate_bn_(net, (b[:1] for b in dl))
        return {'ours': ours, 'theirs': lambda: update_bn(dl, net)}
    t = bench.turns(both(net), 5*bench.rounds)
    yield ratio('BatchNorm refresh / torch', f'reestimate_bn_, {n} batches', t['ours'], "torch's update_bn", t['theirs'])
    idle = bench.turns(both(idling(net)), 5*bench.rounds)
    yield share('BatchNorm refresh, beyond the passes', 'what reestimate_bn_ does beyond the forward passes, less what update_bn does', (idle['ours'] - idle['theirs'])/np.median(t['theirs']), "torch's update_bn")


def batch_filter(bench):
    size = bench.size if bench.quick or bench.device == 'cuda' else 2*bench.size
    setups = {'BatchLossFilter(0.5)': [lambda: BatchLossFilter(.5)], 'BatchLossFilter(0.3)': [lambda: BatchLossFilter(.3)],
              "BatchLossFilter(0.5, mode='mask')": [lambda: BatchLossFilter(.5, mode='mask')]}
    yield from steps(bench, setups, 2, size, bench.rounds*3//2)
    learn = bench.learner(n=1, size=size)
    fit, (x, _) = Fit(learn), next(iter(learn.dls.train))
    def forward():
        with torch.no_grad(), autocast_of(learn)(): learn.model.eval()(x.to(bench.device))
    t = bench.turns({'forward': forward, 'plain': fit})
    yield ratio('forward pass, share of a step', 'a forward pass alone, without gradients', t['forward'], 'plain step', t['plain'])
    if size == bench.size: return
    small = {k: setups[k] for k in list(setups)[:2]}
    for o in steps(bench, small, 2, bench.size): yield o | dict(row=f"{o['row']}, {bench.size} px", what=f"{o['what']}, {bench.size} px")


class Sums(Callback):
    run_valid = False
    def after_backward(self): self.sums = [p.grad.sum() for p in self.model.parameters()]


def guards(bench):
    yield from steps(bench, {'SkipNonFinite()': [SkipNonFinite]}, 2, rounds=4*bench.rounds, own=True)
    if bench.device == 'cpu':
        yield share('bare sum, own time', 'a sum over each gradient, and nothing else', own_share(bench, Sums, 2, 2*bench.rounds))
        size = 2*bench.size
        yield share('SkipNonFinite, twice the size', f"all of SkipNonFinite's events in a step, {size} px", own_share(bench, SkipNonFinite, 2, size=size))
    n = 10 if bench.quick else 50
    yield from steps(bench, {'Rollback(every=50)': [lambda: Rollback(every=n)], "Checkpoint(every='epoch')": [Checkpoint]}, n, own=True)


def sampling(bench):
    n = 10_000 if bench.quick else 1_000_000
    items, weights = range(n), np.random.default_rng(0).random(n)
    ours = DataLoaders(TfmdDL(items, bs=64, shuffle=True, num_workers=0)).weighted(weights).train
    theirs = WeightedDL(items, bs=64, wgts=weights, shuffle=True, num_workers=0)
    def draw(dl): list(dl.get_idxs())
    t = bench.turns({'ours': partial(draw, ours), 'theirs': partial(draw, theirs)}, 2*bench.rounds)
    yield ratio('WeightedSampling, 1M items / fastai', "one epoch's draw, as a list", t['ours'], "fastai's WeightedDL", t['theirs'])


class Limited(nn.Module):
    "A net for which memory runs out above so many items; it notes the sizes that it trains on"
    def __init__(self, limit): super().__init__(); self.net, self.limit, self.tried, self.passes = nn.Linear(4, 2), limit, [], 0
    def forward(self, x):
        self.passes += 1
        if self.training and (not self.tried or self.tried[-1] != len(x)): self.tried.append(len(x))
        if self.training and len(x) > self.limit: raise torch.OutOfMemoryError('CUDA out of memory.')
        return self.net(x)


def max_bs(bench):
    "Trials are counted: batch sizes that a training step was tried with"
    from accelerate import find_executable_batch_size
    start, n = 128, 4096
    limits = np.unique(np.geomspace(1, start, 3 if bench.quick else 24).astype(int))
    gc.collect()
    gc.freeze()                 # both collect garbage at each trial, which takes long with all that is imported here
    x, y = torch.randn(n, 4), torch.randint(0, 2, (n,))
    def of_ours(limit):
        net = Limited(limit)
        learn = Learner(toy_dls(x, y, valid=(x[:2], y[:2]), bs=64), net, loss_func=CrossEntropyLossFlat())
        with quiet(learn), redirect_stdout(io.StringIO()): found = learn.max_bs(start=start, limit=start)
        return len(net.tried), found, net.passes
    def of_accelerate(limit):
        net = Limited(limit)
        @find_executable_batch_size(starting_batch_size=start)
        def train(bs):
            net(x[:bs]).sum().backward()
            return bs
        found = train()
        return len(net.tried), found, net.passes
    def of_lightning(limit):
        import lightning.pytorch as pl
        from lightning.pytorch.tuner import Tuner
        net = Limited(limit)
        class Module(pl.LightningModule):
            def __init__(self): super().__init__(); self.net, self.batch_size = net, 2
            def train_dataloader(self): return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=self.batch_size)
            def training_step(self, b, i): return nn.functional.cross_entropy(self.net(b[0]), b[1])
            def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 1e-3)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            module = Module()
            trainer = pl.Trainer(accelerator='cpu', max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                                 enable_model_summary=False, default_root_dir=folder)
            Tuner(trainer).scale_batch_size(module, mode='binsearch', init_val=start)       # what `BatchSizeFinder` calls
        return len(dict.fromkeys(net.tried)), module.batch_size
    found = {k: np.array([f(o) for o in limits]) for k, f in dict(ours=of_ours, accelerate=of_accelerate).items()}
    yield ratio('max_bs / accelerate, trials', f'trials of max_bs(start={start}), memory for 1 to {start} items', found['ours'][:, 0],
                "accelerate's find_executable_batch_size from the same start", found['accelerate'][:, 0], 'trials')
    yield ratio('max_bs / accelerate, size found', 'batch that max_bs finds', found['ours'][:, 1] + .0, 'what fits', limits, 'items')
    yield ratio('accelerate, size found', 'batch that accelerate finds', found['accelerate'][:, 1] + .0, 'what fits', limits, 'items')
    yield ratio('max_bs / accelerate, passes', f'forward passes of max_bs(start={start}): two steps and a validation in each trial that fits', found['ours'][:, 2], 'one pass in each of its trials', found['accelerate'][:, 2], 'passes')
    gc.unfreeze()
    some = np.arange(len(limits)) % (3 if bench.quick else 6) == 1          # it is slow
    logging.disable(logging.WARNING)
    theirs = np.array([of_lightning(o) for o in limits[some]])
    logging.disable(logging.NOTSET)
    yield ratio('max_bs / lightning, trials', f'trials of max_bs(start={start})', found['ours'][some, 0], "lightning's BatchSizeFinder(mode='binsearch')", theirs[:, 0], 'trials')


class PeakBytes(TorchDispatchMode):
    "The most bytes that tensors made in here held at once, looked at after each operation"
    def __init__(self): super().__init__(); self.live, self.peak = {}, 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves(out):
            if isinstance(t, torch.Tensor) and t.untyped_storage().nbytes():
                ref = StorageWeakRef(t.untyped_storage())
                self.live.setdefault(ref.cdata, (ref, t.untyped_storage().nbytes()))
        self.live = {k: o for k, o in self.live.items() if not o[0].expired()}
        self.peak = max(self.peak, sum(o[1] for o in self.live.values()))
        return out


def bs_find(bench):
    """Bytes of every storage that an operation made and that is still alive, looked at after each operation on a CPU.

    Copies of the gradients: the peak of bs_find's pass over the batches less that of a plain epoch, which holds gradients and activations too,
    plus those gradients. The copy of the weights that waits in the CPU's memory until bs_find is done is not counted.
    """
    width, copies = 64 if bench.quick else 400, []
    net = nn.Sequential(*(nn.Linear(width, width) for _ in range(8)), nn.Linear(width, 2))
    grads = sum(p.numel()*p.element_size() for p in net.parameters())
    def peak(train):
        set_seed(0)
        learn = Learner(toy_dls(torch.randn(64, width), torch.randint(0, 2, (64,)), bs=2), deepcopy(net), loss_func=CrossEntropyLossFlat(), opt_func=SGD, cbs=NoValidation())
        counter, fit = PeakBytes(), learn.fit
        def watched(*args, **kwargs):
            gc.collect()
            with counter: fit(*args, **kwargs)
        learn.fit = watched
        with quiet(learn): train(learn)
        return counter.peak
    plain = peak(lambda learn: learn.fit(1, LR))
    for n_batches in (8, 16) if bench.quick else (8, 20, 50, 100):
        extra = peak(lambda learn: learn.bs_find(n_batches=n_batches, show_plot=False)) - plain      # noqa: B023
        copies.append(1 + extra/grads)
        yield number(f'bs_find, {n_batches} batches', f'copies of the gradients in bs_find(n_batches={n_batches})', copies[-1], 'one copy', 1., 'copies')
    yield number('bs_find, copies of the gradients', 'copies of the gradients in bs_find, the most over the numbers of batches', max(copies), 'one copy', 1., 'copies')


def imports(bench):
    "Fresh processes, in each of them fastai first and then us; in every other one no garbage is collected"
    code = ('import gc, time; t = time.perf_counter(); import fastai.vision.all; a = time.perf_counter(); {}import fastai_recipes.all; '
            'print(a - t, time.perf_counter() - a)')
    rounds, found = 1 if bench.quick else 3, {'': [], 'gc.disable(); ': []}
    for _ in range(rounds + 1):
        for extra, times in found.items():
            res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code.format(extra)], capture_output=True, text=True, check=True)
            times.append([float(o) for o in res.stdout.split()])
    for row, what, times in zip(('import beyond fastai', 'import, no collection'), ('', ', garbage collection put off'), found.values(), strict=True):
        fastai, ours = np.array(times[1:]).T                                                 # the first one fills the disk's cache
        yield ratio(row, f'import fastai_recipes.all after it{what}', ours, 'import fastai.vision.all', fastai)


@contextmanager
def syncs(bench):
    "Counts how often the host waits for the device: on a GPU as torch warns of it, on a CPU as `.item()` and the like"
    if bench.device == 'cpu':
        with counted() as ops:
            found = Counter()
            yield found
            found['n'] = ops['_local_scalar_dense']
        return
    found = Counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try: yield found
        finally: torch.cuda.set_sync_debug_mode('default')
    found['n'] = sum('called a synchronizing' in str(o.message) for o in caught)       # there is one about the mode itself, too


def synchronisations(bench):
    "Per step, beyond what fastai's own loop does; without what is done once in an epoch"
    setups = {'SAM()': [SAM], 'EMA()': [EMA], 'SWA(every=1)': [lambda: SWA(start=0., every=1, validate=False, keep='last')], 'AWP()': [AWP],
              'BatchLossFilter(0.5)': [lambda: BatchLossFilter(.5)], "BatchLossFilter(0.5, mode='mask')": [lambda: BatchLossFilter(.5, mode='mask')],
              'SkipNonFinite(wait=True)': [lambda: SkipNonFinite(wait=True)], 'SkipNonFinite(wait=False)': [lambda: SkipNonFinite(wait=False)],
              'Rollback()': [lambda: Rollback(every=1000)], 'WeightedSampling()': [lambda: WeightedSampling('balanced')],
              "Checkpoint(every='epoch')": [Checkpoint]}
    if bench.precision == 'fp16': setups['Fp16Guard()'] = [Fp16Guard]
    def per_step(cbs):
        counts, epochs = [], (1, 3) if bench.quick else (4, 12)
        for n in epochs:
            learn = bench.learner(cbs, dls=bench.dls(n, 32, 4, made=False), net=timm.create_model('test_resnet', num_classes=10))
            fit = Fit(learn)
            fit()
            with syncs(bench) as found: fit()
            counts.append(found['n'])
        return (counts[1] - counts[0])/(epochs[1] - epochs[0])
    plain = per_step([])
    yield number('synchronisations, plain', 'synchronisations of a plain step', plain, '', 1, 'per step')
    for name, cbs in setups.items(): yield number(f'synchronisations, {name}', f'synchronisations that {name} adds to a step', per_step(cbs) - plain, '', 1, 'per step')


ON_DEVICE = [sam_peer, sam, ema, swa, batch_filter, guards, synchronisations]       # the others do not depend on it
if MORE: ON_DEVICE.insert(0, more)
ROWS = {o.__name__: o for o in (*ON_DEVICE[:-1], sampling, max_bs, bs_find, imports, synchronisations)}


# --- as work grows

def mlp(n):
    "A net of some `n` parameters in square layers"
    depth = 2 if n < 1e6 else 4 if n < 1e7 else 10 if n < 1e8 else 25
    width = round((n/depth)**.5)
    return nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth))), width


def seconds(act, reps):
    act()
    found = []
    for _ in range(reps):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return np.median(found)


def growth(bench):
    "A record for each row and size: seconds"
    out = []
    def note(row, of, size, value): out.append(dict(row=row, of=of, size=int(size), seconds=value))
    for size in (1e5, 1e6) if bench.quick else (1e5, 1e6, 1e7, 1e8):
        reps = 5 if size < 1e8 else 2
        def learner(cbs, size=size):
            set_seed(0)
            net, width = mlp(size)
            x, y = torch.randn(8*2, width), torch.randint(0, width, (16,))
            return Learner(toy_dls(x, y, bs=8), net, loss_func=CrossEntropyLossFlat(), opt_func=SGD, path=tempfile.gettempdir(), cbs=[cb() for cb in cbs] + [NoValidation()])
        swa_ = lambda: SWA(start=0., every=1, validate=False, keep='last')
        for name, cbs in {'plain step': [], 'SAM()': [SAM], 'BatchLossFilter(0.5)': [lambda: BatchLossFilter(.5)]}.items():
            note(name, 'parameters', size, seconds(Fit(learner(cbs)), reps)/2)
        for name, make in {'EMA, own time': EMA, 'SWA, own time': swa_, 'SkipNonFinite, own time': SkipNonFinite, 'Rollback(every=2), own time': lambda: Rollback(every=2)}.items():
            learn = learner([timed(make)])
            fit, cb, found = Fit(learn), learn.cbs.filter(lambda o: hasattr(o, 'own'))[0], []
            for _ in range(reps + 1):
                cb.own = 0.
                fit()
                found.append(cb.own/2)
            note(name, 'parameters', size, np.median(found[1:]))
            del learn, fit, cb
            gc.collect()
        with torch.device('meta'): shapes = [p.shape for p in mlp(size)[0].parameters()]
        a, b = ([torch.zeros(o) for o in shapes] for _ in range(2))
        note('a bare copy of the weights', 'parameters', size, seconds(lambda: torch._foreach_copy_(a, b), 5*reps))   # noqa: B023
    for size in (8, 32) if bench.quick else (8, 32, 128, 512):
        fits = {}
        for name, cbs in {'plain step': [], 'SAM()': [SAM], 'BatchLossFilter(0.5)': [lambda: BatchLossFilter(.5)], 'SkipNonFinite()': [SkipNonFinite], 'EMA()': [EMA]}.items():
            fits[name] = Fit(bench.learner(cbs, 2, net=timm.create_model('test_resnet', num_classes=10), size=32, bs=size))
        for name, t in bench.turns(fits, 5).items(): note(name, 'batch', size, np.median(t)/2)
    for size in (1e4, 1e5) if bench.quick else (1e4, 1e5, 1e6, 1e7):
        dl = DataLoaders(TfmdDL(range(int(size)), bs=64, shuffle=True, num_workers=0)).weighted(np.random.default_rng(0).random(int(size))).train
        note("WeightedSampling, an epoch's draw", 'items', size, seconds(dl.get_idxs, 3))
        perm = torch.Generator().manual_seed(0)
        note('a bare torch.randperm', 'items', size, seconds(lambda: torch.randperm(int(size), generator=perm), 3))   # noqa: B023
    return pd.DataFrame(out)


def main():
    p = parser(__doc__, 'rows', [*ROWS, 'growth'])
    p.add_argument('--rounds', type=int, default=6)
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    p.add_argument('--model', default='resnet18', help="a timm model, e.g. resnet50 or vit_small_patch16_224")
    p.add_argument('--size', type=int, default=64, help='pixels')
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--precision', default='fp32', choices=('fp32', 'bf16', 'fp16'))
    args = p.parse_args()
    if args.device == 'cuda' and 'growth' in (args.rows or []): p.error('growth is measured on a CPU')
    if args.device == 'cpu' and args.precision != 'fp32': p.error("fastai's mixed precision is for a GPU: --device cuda")
    torch.set_num_threads(args.threads)
    bench, chosen = Bench(args), args.rows or ([*ROWS, 'growth'] if args.device == 'cpu' else [o.__name__ for o in ON_DEVICE])
    facts = machine(PACKAGES, args.device) | dict(net=f'{bench.model}, {bench.size} px, batch {bench.bs}, {bench.precision}', rounds=str(args.rounds))
    rows, grown = Results(args, 'cost', 'group', facts, args.rows), Results(args, 'cost_growth', 'row', facts, args.rows)
    records = []
    for name in (o for o in ROWS if o in chosen):
        began = time.perf_counter()
        for o in ROWS[name](bench):
            records.append(dict(group=name, **o))
            print(f"{o['row']:45} {o['ratio']:8.4f}  ({o['q25']:.4f} to {o['q75']:.4f})  target {TARGETS.get(o['row'], '')}", flush=True)
        print(f'    {name}: {time.perf_counter() - began:.0f} s', flush=True)
    if records:
        columns = 'group', 'row', 'what', 'beside', 'ratio', 'q25', 'q75', 'rounds', 'ours', 'theirs', 'unit'
        rows.store(pd.DataFrame(records, columns=columns).round(5))
    if 'growth' in chosen and args.device == 'cpu':
        frame = growth(bench)
        grown.store(frame.round(9))
        print(frame.pivot_table(index=['of', 'row'], columns='size', values='seconds').to_string())


if __name__ == '__main__': main()
