"Random small models, parameter groups, accumulation and orders of adding, drawn by Hypothesis with fixed seeds."
from copy import deepcopy
from functools import partial

import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import MixUp
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import SGD, Adam, OptimWrapper
from fastai.torch_core import set_seed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from fastai_recipes.all import AWP, EMA, SAM, SWA
from fastai_recipes.callbacks.averaging import ema_decay
from fastai_recipes.core import named_tensors
from fastai_recipes.testing import CPUMixedPrecision, copied, exact_learner, quiet, same, toy_dls

fixed = partial(settings, derandomize=True, deadline=None, database=None)


def net(sizes, bn, dropout, seed):
    "An MLP with the hidden layers of `sizes`, for 5 inputs and 3 classes"
    torch.manual_seed(seed)
    layers, i = [], 5
    for o in sizes:
        layers += [nn.Linear(i, o)] + [nn.BatchNorm1d(o)]*bn + [nn.Tanh(), nn.Dropout(dropout)]
        i = o
    return nn.Sequential(*layers, nn.Linear(i, 3))


def data(n, seed):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, generator=gen), torch.randint(0, 3, (n,), generator=gen)


def split(cut, model):
    "Parameters before and from `cut` on; one group if there is nothing before"
    params = list(model.parameters())
    return [params[:cut], params[cut:]] if 0 < cut < len(params) else [params]


optimizers = st.sampled_from([SGD, Adam, partial(OptimWrapper, opt=torch.optim.AdamW)])
hidden = st.lists(st.integers(1, 6), max_size=2)


class Steps(Callback):
    "The model after each optimizer step, which a cancelled one does not change"
    order, run_valid = MixedPrecision.order + 5, False
    def before_fit(self): self.seen = []
    def after_step(self): self.seen.append(copied(self.learn.model))


second = st.sampled_from([None, partial(SAM, .3), partial(SAM, .5, adaptive=True), partial(SAM, .3, every=2, start=.2),
                          partial(AWP, .1, .1), partial(AWP, .1, .1, start=.5)])
averages = st.sampled_from([[], [partial(EMA, .8)], [partial(EMA, .8, every=2, keep='last')], [partial(SWA, .3)],
                            [partial(SWA, .3, every=2)], [partial(EMA, .8), partial(SWA, .3, validate=False, keep='last')]])
others = st.lists(st.sampled_from([partial(GradientClip, .05), partial(GradientAccumulation, 12), MixUp,
                                   partial(CPUMixedPrecision, init_scale=2.**24), Steps]), unique=True, max_size=5)


@fixed(max_examples=40)
@given(hidden, st.booleans(), st.floats(0, .5), st.integers(0, 6), second, averages, others, optimizers,
       st.randoms(use_true_random=False), st.integers(0, 99))
def test_order_of_adding(sizes, bn, dropout, cut, two, avg, rest, opt_func, shuffle, seed):
    "The result never depends on the order in which the callbacks were added"
    makers = [o for o in [two, *avg, *rest] if o is not None]
    results = []
    for i in range(3):
        order = [makers, makers[::-1], shuffle.sample(makers, len(makers))][i]
        dls = toy_dls(*data(24, seed), bs=4 if bn else 3)
        set_seed(seed)
        learn = Learner(dls, net(sizes, bn, dropout, seed), loss_func=CrossEntropyLossFlat(), opt_func=opt_func,
                        splitter=partial(split, cut))
        for make in order: learn.add_cb(make())
        with quiet(learn): learn.fit(2, .05)
        results.append([learn.model, *(cb.average for cb in learn.cbs if isinstance(cb, EMA | SWA)), learn.recorder.values])
    for other in results[1:]:
        assert same(results[0][0], other[0])
        assert repr(results[0][-1]) == repr(other[-1])
    names = [[{k: v.tolist() for k, v in a.items()} for a in r[1:-1]] for r in results]
    assert all(sorted(map(repr, n)) == sorted(map(repr, names[0])) for n in names)


@fixed(max_examples=30)
@given(hidden, st.integers(0, 6), st.floats(0, 1), st.booleans(), st.integers(1, 3), st.sampled_from([1, 2, 3, 6]),
       st.booleans(), st.sampled_from([0, .3, .5]), st.integers(0, 99))
def test_sam_is_the_formula(sizes, cut, rho, adaptive, every, micro, second_group, start, seed):
    "Any model, groups and accumulation: SAM on the whole batch, in float64"
    model, (x, y) = net(sizes, False, 0., seed).double(), data(36, seed)
    x, ref = x.double(), deepcopy(model)
    groups = split(cut, ref)
    chosen = groups[-1] if second_group else [p for g in groups for p in g]
    learn = exact_learner(model, toy_dls(x, y, bs=micro), opt_func=partial(SGD, mom=.9), splitter=partial(split, cut),
                          cbs=[SAM(rho, adaptive, every=every, start=start, groups=[-1] if second_group else None),
                               GradientAccumulation(6)])
    with quiet(learn): learn.fit(1, .05)
    params, opt = list(ref.parameters()), torch.optim.SGD(ref.parameters(), lr=.05, momentum=.9)
    for i in range(6):
        xb, yb, sharp = x[6*i:6*i+6], y[6*i:6*i+6], (i+1) % every == 0 and i/6 >= start
        if sharp:
            g = torch.autograd.grad(cross_entropy(ref(xb), yb), chosen)
            t = [p.detach().abs() if adaptive else torch.ones_like(p) for p in chosen]
            norm = sum((a*b).square().sum() for a, b in zip(t, g, strict=True)).sqrt()
            before = [p.detach().clone() for p in params]
            with torch.no_grad():
                for p, a, b in zip(chosen, t, g, strict=True): p.add_(rho*a**2*b/(norm + 1e-12))
        grads = torch.autograd.grad(cross_entropy(ref(xb), yb), params)
        if sharp:
            with torch.no_grad():
                for p, b in zip(params, before, strict=True): p.copy_(b)
        for p, b in zip(params, grads, strict=True): p.grad = b
        opt.step()
    for p, q in zip(model.parameters(), params, strict=True): assert (p - q).abs().max() < 1e-10


@fixed(max_examples=20)
@given(hidden, st.booleans(), st.floats(0, .999), st.booleans(), st.integers(1, 4), st.floats(0, 1), st.integers(0, 99))
def test_ema_is_the_recursion(sizes, bn, decay, warmup, every, start, seed):
    "Any decay, interval and start, over two fits"
    x, y = data(24, seed)
    learn = exact_learner(net(sizes, bn, .1, seed), toy_dls(x, y, bs=4), cbs=[EMA(decay, warmup, start, every), Steps()])
    seen = []
    with quiet(learn):
        for _ in range(2): learn.fit(2, .05); seen.append(learn.steps.seen)
    begins = next((i for i in range(12) if (i//6)/2 + (i%6)/12 >= start - 1e-9), 12)
    taken = [*seen[0][begins:], *(seen[1] if begins < 12 else seen[1][begins:])][every-1::every]
    assert learn.ema.n_updates == len(taken)
    average = None
    for n, weights in enumerate(taken):
        d = ema_decay(n, decay, warmup)
        average = {k: w if average is None or not w.is_floating_point() else d*average[k] + (1-d)*w for k, w in weights.items()}
    for k, a in (average or {}).items(): assert (learn.ema.average[k] - a).abs().max() < 1e-12
    if average: assert same(learn.ema.average, named_tensors(learn.model))
