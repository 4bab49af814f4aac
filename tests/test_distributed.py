"Two real processes with gloo: ranks agree to the bit, and with one process or the formula to rounding."
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from distributed_worker import BS, EPOCHS, LR, SETUPS, N, data, model
from fastai.optimizer import SGD
from scipy.stats import chisquare
from torch.nn.functional import cross_entropy

from fastai_recipes.all import AWP, EMA, SAM
from fastai_recipes.core import named_tensors
from fastai_recipes.testing import exact_learner, quiet, same, toy_dls

BATCHES = [[torch.arange(r*N//2 + i, r*N//2 + i + BS) for r in range(2)] for i in range(0, N//2, BS)]   # indices for each rank


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp('ranks')
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
           Path(__file__).with_name('distributed_worker.py'), out]
    res = subprocess.run(cmd, capture_output=True, text=True, timeout=1800)
    assert res.returncode == 0, res.stderr[-5000:]
    return [torch.load(out/f'{r}.pt') for r in range(2)]


def one_process(*cbs, n_acc=1):
    "The same batches, both ranks' together"
    x, y = data()
    order = torch.cat([torch.cat(b) for b in BATCHES])
    learn = exact_learner(model(), toy_dls(x[order], y[order], bs=2*BS*n_acc), opt_func=partial(SGD, mom=.9), cbs=list(cbs))
    with quiet(learn): learn.fit(EPOCHS, LR)
    return learn


def local_sam(rho=.2, every=1, n_acc=1):
    "By the formula: each rank climbs with its own gradient, the optimizer steps with the mean of theirs"
    net, (x, y) = model(), data()
    opt = torch.optim.SGD(net.parameters(), lr=LR, momentum=.9)
    params = list(net.parameters())
    steps = [[torch.cat([b[r] for b in BATCHES[i:i+n_acc]]) for r in range(2)] for i in range(0, len(BATCHES), n_acc)]*EPOCHS
    for i, step in enumerate(steps):
        grads = []
        for idx in step:
            g = torch.autograd.grad(cross_entropy(net(x[idx]), y[idx]), params)
            if (i+1) % every == 0:
                norm = sum(o.square().sum() for o in g).sqrt()
                with torch.no_grad():
                    for p, o in zip(params, g, strict=True): p.add_(rho*o/norm)
                moved, g = g, torch.autograd.grad(cross_entropy(net(x[idx]), y[idx]), params)
                with torch.no_grad():
                    for p, o in zip(params, moved, strict=True): p.sub_(rho*o/norm)
            grads.append(g)
        for p, a, b in zip(params, *grads, strict=True): p.grad = (a + b)/2
        opt.step()
    return net


def close(found, net, eps=1e-10):
    return all((found[n] - t).abs().max() < eps for n, t in named_tensors(net).items() if t.is_floating_point())


@pytest.mark.parametrize('name', list(SETUPS))
def test_ranks_are_identical(ranks, name):
    a, b = (r[name] for r in ranks)
    assert same(a['model'], b['model'])
    if 'average' in a: assert same(a['average'], b['average']) and (name == 'skip' or same(a['model'], a['average']))


@pytest.mark.parametrize('name, cbs, n_acc', [('sam', [SAM(.2)], 1), ('sam accumulated', [SAM(.2)], 2), ('awp', [AWP(.1, .1)], 1),
                                              ('ema', [EMA(.9)], 1), ('sam ema', [SAM(.2), EMA(.9)], 1)])
def test_equal_to_one_process(ranks, name, cbs, n_acc):
    assert close(ranks[0][name]['model'], one_process(*cbs, n_acc=n_acc).model)


@pytest.mark.parametrize('name, kw', [('sam local', {}), ('sam every', dict(every=2)), ('sam local accumulated', dict(n_acc=2))])
def test_local_ascent(ranks, name, kw):
    assert close(ranks[0][name]['model'], local_sam(**kw))
    if name == 'sam local': assert not close(ranks[0][name]['model'], one_process(SAM(.2)).model, eps=1e-6)


def test_batchnorm_under_sam(ranks):
    "By the formula: each process normalises by its own batch in both passes, and the first passes of the first one count, once"
    net, (x, y) = model(bn=True), data()
    opt, params = torch.optim.SGD(net.parameters(), lr=LR, momentum=.9), list(net.parameters())
    def grad(idx): return torch.autograd.grad(cross_entropy(net(x[idx]), y[idx]), params)
    def grads(b): return [sum(g)/2 for g in zip(*map(grad, b), strict=True)]
    for b in BATCHES*EPOCHS:
        net(x[b[0]])
        counted = [t.clone() for t in net.buffers()]
        g = grads(b)
        e = [.2*o/sum(o.square().sum() for o in g).sqrt() for o in g]
        with torch.no_grad(): torch._foreach_add_(params, e)
        g = grads(b)
        with torch.no_grad(): torch._foreach_sub_(params, e)
        for p, o in zip(params, g, strict=True): p.grad = o
        for t, was in zip(net.buffers(), counted, strict=True): t.copy_(was)
        opt.step()
    assert close(ranks[0]['sam bn']['model'], net)
    assert ranks[0]['sam bn']['model']['1.num_batches_tracked'] == EPOCHS*len(BATCHES)


def test_swa_statistics(ranks):
    "The mean over both ranks' batches, at the averaged weights"
    net, (x, _) = model(bn=True), data()
    net.load_state_dict(ranks[0]['swa']['model'])
    hidden = [net[0](x[idx]) for b in BATCHES for idx in b]
    assert (net[1].running_mean - torch.stack([h.mean(0) for h in hidden]).mean(0)).abs().max() < 1e-12
    assert (net[1].running_var - torch.stack([h.var(0) for h in hidden]).mean(0)).abs().max() < 1e-12


def test_filter(ranks):
    "By the formula: each process steps on the hardest of its own samples"
    net, (x, y) = model(), data()
    opt = torch.optim.SGD(net.parameters(), lr=LR, momentum=.9)
    for b in BATCHES*EPOCHS:
        opt.zero_grad()
        for idx in b:
            losses = cross_entropy(net(x[idx]), y[idx], reduction='none')
            (losses.topk(BS//2).values.mean()/2).backward()
        opt.step()
    for name in ('filter', 'filter mask'): assert close(ranks[0][name]['model'], net), name


def test_weighted_draws(ranks):
    "One draw for both, though their seeds differ: together they have the weights' distribution, and each its share"
    x = data()[0][:, 0]
    a, b = (torch.cdist(r['weighted']['seen'][:, None], x[:, None]).argmin(1) for r in ranks)
    assert len(a) == len(b) == EPOCHS*100*N/2 and (a == b).float().mean() < .1
    expected = torch.arange(1., N + 1)
    for idx in (a, b, torch.cat([a, b])): assert chisquare(idx.bincount(minlength=N), expected/expected.sum()*len(idx)).pvalue > .01


def test_resumed(ranks):
    "After an interruption both processes go on as if there had been none"
    a, b = (r['resumed'] for r in ranks)
    assert same(a['whole'], a['again']) and same(b['whole'], b['again']) and same(a['again'], b['again'])


def test_largest_batch(ranks):
    "Processes agree on what fits in both; validation has batches of twice the size"
    assert [r['max_bs'] for r in ranks] == [10, 10]


def test_skipped_together(ranks):
    "What is not finite in one process is skipped by both"
    n = EPOCHS*len(BATCHES)
    for r in ranks: assert r['skip']['skipped'] == ([1, 0], n - 2)


def test_rolled_back_together(ranks):
    "A loss that rises in one process alone takes both back, at the same batch, to the same state"
    (log, model), (log_1, model_1) = (r['rolled back'] for r in ranks)
    assert log == log_1 and {tuple(o[2:4]) for o in log} == {('rollback', 'loss')}, log
    assert same(model, model_1)
