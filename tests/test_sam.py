"SAM beside another implementation."
from copy import deepcopy
from functools import partial

import pytest
import torch
from fastai.optimizer import SGD, OptimWrapper
from pytorch_optimizer import SAM as PeerSAM
from torch import nn
from torch.nn.functional import cross_entropy

from fastai_recipes.callbacks.awp import AWP
from fastai_recipes.callbacks.sam import SAM
from fastai_recipes.testing import digits_learner, exact_learner, quiet, toy_dls


def norm_in_float64(groups, weight_adaptive=False, **kwargs):
    "The squared norm that the peer divides by, which it computes in float32, in float64"
    return sum((p.grad*(p.abs() if g['adaptive'] else 1)).square().sum() for g in groups for p in g['params']).reshape(1)


@pytest.mark.parametrize('tol', [1e-8, 1e-10], ids=['as it is', 'its norm in float64'])
@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize('mine, base', [
    (partial(SGD, mom=.9), partial(torch.optim.SGD, momentum=.9)),
    (partial(OptimWrapper, opt=torch.optim.AdamW, weight_decay=.1), partial(torch.optim.AdamW, weight_decay=.1))], ids=['SGD', 'AdamW'])
def test_ten_steps_of_pytorch_optimizer(tol, adaptive, mine, base, monkeypatch):
    if tol == 1e-10: monkeypatch.setattr('pytorch_optimizer.optimizer.sam.get_global_gradient_norm', norm_in_float64)
    gen = torch.Generator().manual_seed(0)
    x, y = torch.randn(80, 6, generator=gen, dtype=torch.float64), torch.randint(0, 3, (80,), generator=gen)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.LayerNorm(9), nn.Linear(9, 3)).double()
    peer, start = deepcopy(model), deepcopy(model)
    rho = .5 if adaptive else .05

    learn = exact_learner(model, toy_dls(x, y, bs=8), cbs=SAM(rho=rho, adaptive=adaptive), opt_func=mine)
    with quiet(learn): learn.fit(1, .02, wd=None if base.func is torch.optim.AdamW else 0.)

    opt = PeerSAM(peer.parameters(), base, rho=rho, adaptive=adaptive, lr=.02)
    for xb, yb in zip(x.split(8), y.split(8), strict=True):
        cross_entropy(peer(xb), yb).backward(); opt.first_step(zero_grad=True)
        cross_entropy(peer(xb), yb).backward(); opt.second_step(zero_grad=True)

    for a, b, c in zip(model.parameters(), peer.parameters(), start.parameters(), strict=True):
        assert (a - b).abs().max() < tol
        assert (a - c).abs().max() > 1e-3


def test_one_second_pass_only():
    learn = digits_learner(cbs=[AWP(), SAM()])
    with quiet(learn), pytest.raises(ValueError, match='is attached too'): learn.fit(1)
