"""What callbacks must give together: each trick from its paper in one plain PyTorch loop, without a Learner or anything of this package."""
import math

import torch
import torch.nn.functional as F
from torch import nn

BN = nn.modules.batchnorm._BatchNorm


def cos(a, b, t): return a + (1 - math.cos(math.pi*t))*(b - a)/2


def one_cycle(lr):
    def hypers(t):
        if t < .25: return dict(lr=cos(lr/25, lr, t/.25), mom=cos(.95, .85, t/.25))
        return dict(lr=cos(lr, lr/1e5, (t - .25)/.75), mom=cos(.85, .95, (t - .25)/.75))
    return hypers


def flat_cos(lr): return lambda t: dict(lr=lr if t < .75 else cos(lr, lr/1e5, (t - .75)/.25))


def copies(tensors): return [None if t is None else t.detach().clone() for t in tensors]


def put_back(tensors, values):
    for t, value in zip(tensors, values, strict=True): t.data.copy_(value)


class Reference:
    "Trains `model`; every option is one trick. Its state goes on from one `fit` to the next"
    def __init__(self, model, opt='sgd', wd=.01, torch_opt=None, n_acc=0, clip=None, mixup=0., sam=0., ema=0., swa=0, keep=1.,
                 mask=False, skip=False, amp=None, scale=1.):
        self.model, self.opt, self.wd, self.n_acc, self.clip, self.mixup = model, opt, wd, n_acc, clip, mixup
        self.sam, self.ema, self.swa, self.keep, self.mask, self.skip = sam, ema, swa, keep, mask, skip
        self.amp, self.first_scale = amp, scale
        self.torch_opt, self.state, self.average, self.n_taken = torch_opt, {}, None, 0

    def fit(self, epochs, schedule):
        "`epochs`: for each its random state and batches; `schedule`: from the part of the training that is done to `lr` (and `mom`)"
        self.micro, self.since, self.scale = [], 0, self.first_scale
        for epoch, (state, batches) in enumerate(epochs):
            done = 0
            self.model.train()
            if hasattr(self.model, 'reset'): self.model.reset()             # its states
            torch.set_rng_state(state)
            for x, y in batches:
                buffers, grads = copies(self.model.buffers()), copies(p.grad for p in self.model.parameters())
                batch = self.prepare(x, y)
                loss = self.backward(batch)
                if self.skip and not self.finite(loss):                     # as if the batch did not exist
                    torch.set_rng_state(batch['rng'])
                    put_back(self.model.buffers(), buffers)
                    for p, g in zip(self.model.parameters(), grads, strict=True): p.grad = g
                    continue
                self.micro.append(batch)
                if sum(b['n'] for b in self.micro) >= self.n_acc: self.step(schedule, (epoch + done/len(batches))/len(epochs))
                done += 1
        if self.average is not None: self.show(epochs)

    def prepare(self, x, y):
        "MixUp (Zhang et al. 2018), each sample with its own lambda; the hardest samples (Jiang et al. 2019)"
        n, y1, lam = len(y), None, None
        if self.mixup:
            lam = torch.distributions.Beta(torch.tensor(self.mixup), torch.tensor(self.mixup)).sample((n,))
            lam, other = torch.max(lam, 1 - lam), torch.randperm(n)
            x, y1 = tuple(torch.lerp(o[other], o, lam.view(-1, *[1]*(o.ndim - 1))) for o in x), y[other]
        batch = dict(x=x, y=y, y1=y1, lam=lam, n=n, idx=None, rng=torch.get_rng_state())
        if self.keep < 1 and not self.mask:
            buffers = copies(self.model.buffers())
            for m in self.model.modules(): m.training = isinstance(m, BN)   # the batch's statistics, no dropout
            with torch.no_grad(): idx = self.hardest(self.losses(batch, self.forward(batch)))
            self.model.train()
            put_back(self.model.buffers(), buffers)
            batch['x'] = tuple(o[idx] for o in x)
            for k in ('y', 'y1', 'lam'): batch[k] = None if batch[k] is None else batch[k][idx]
        return batch

    def hardest(self, losses):
        "Never those whose loss is no number"
        losses = losses.where(losses.isfinite(), -math.inf)
        return losses.argsort(descending=True, stable=True)[:math.ceil(self.keep*len(losses) - 1e-9)].sort().values

    def autocast(self): return torch.autocast('cpu', self.amp or torch.bfloat16, enabled=self.amp is not None)

    def forward(self, batch):
        with self.autocast(): out = self.model(*batch['x'])
        return out[0] if isinstance(out, tuple) else out                    # a recurrent model gives its states too

    def losses(self, batch, out):
        with self.autocast():
            loss = F.cross_entropy(out, batch['y'], reduction='none')
            return loss if batch['y1'] is None else torch.lerp(F.cross_entropy(out, batch['y1'], reduction='none'), loss, batch['lam'])

    def backward(self, batch):
        losses = self.losses(batch, self.forward(batch))
        if self.mask and self.keep < 1:
            if batch['idx'] is None: batch['idx'] = self.hardest(losses.detach())
            losses = losses[batch['idx']]
        (self.scale*losses.mean()*(batch['n']/self.n_acc if self.n_acc else 1.)).backward()
        return losses.mean().detach()

    def grads(self): return [p.grad for p in self.model.parameters() if p.grad is not None]

    def finite(self, loss): return loss.isfinite() and (self.scale > 1 or all(g.isfinite().all() for g in self.grads()))   # or an overflow

    def unscaled(self):
        "Loss scaling (Micikevicius et al. 2018): False after an overflow"
        for g in self.grads(): g /= self.scale
        return all(g.isfinite().all() for g in self.grads())

    def step(self, schedule, t):
        ok = self.unscaled()
        if ok and self.sam: ok = self.climb_and_return()
        if ok:
            if self.clip: nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.update(**schedule(t))
            self.averages(t)
        else: self.scale /= 2
        self.model.zero_grad(set_to_none=False)
        self.micro = []

    def climb_and_return(self):
        "SAM (Foret et al. 2021): the gradient at w + rho*g/|g|, with the same samples, masks and BatchNorm statistics"
        params, now = self.trained(), torch.get_rng_state()
        weights, buffers, norm = copies(params), copies(self.model.buffers()), torch.stack([p.grad.norm() for p in params]).norm()
        for p in params:
            p.data.add_(p.grad*(self.sam/(norm + 1e-12)))
            p.grad.zero_()
        for batch in self.micro:
            torch.set_rng_state(batch['rng'])
            self.backward(batch)
        torch.set_rng_state(now)
        put_back(params, weights)
        put_back(self.model.buffers(), buffers)
        return self.unscaled()

    def update(self, lr, mom=None):
        if self.torch_opt is not None:
            for group in self.torch_opt.param_groups: group.update(lr=lr, betas=(mom or group['betas'][0], group['betas'][1]))
            return self.torch_opt.step()
        norms = BN, nn.LayerNorm
        no_decay = {id(p) for m in self.model.modules() for k, p in m._parameters.items() if isinstance(m, norms) or k == 'bias'}
        for p in self.trained():
            s, g, m = self.state.setdefault(p, dict(avg=torch.zeros_like(p), sqr=torch.zeros_like(p), n=0)), p.grad, mom or .9
            if id(p) not in no_decay: p.data.mul_(1 - lr*self.wd)
            if self.opt == 'sgd': p.data.add_(s['avg'].mul_(m).add_(g), alpha=-lr); continue
            s['n'] += 1                                                     # Adam (Kingma and Ba 2015)
            s['avg'].mul_(m).add_(g, alpha=1 - m); s['sqr'].mul_(.99).addcmul_(g, g, value=.01)
            p.data.addcdiv_(s['avg'], (s['sqr']/(1 - .99**s['n'])).sqrt() + 1e-5, value=-lr/(1 - m**s['n']))

    def trained(self): return [p for p in self.model.parameters() if p.grad is not None and p.requires_grad]

    def averages(self, t):
        "EMA with a constant decay (Tarvainen and Valpola 2017); SWA every so many steps from the middle on (Izmailov et al. 2018)"
        if self.swa and t >= .5 - 1e-9: self.since += 1
        if not self.ema and not (self.swa and self.since and self.since % self.swa == 0): return
        self.n_taken += 1
        if self.n_taken == 1: self.average = copies(self.model.state_dict().values())
        for a, (k, t) in zip(self.average, self.model.state_dict().items(), strict=True):
            if not t.is_floating_point() or (self.swa and 'running' in k): a.copy_(t)
            else: a += (t - a)*(1 - self.ema if self.ema else 1/self.n_taken)

    def show(self, epochs):
        "After a fit the model is the average; SWA's BatchNorm statistics are means over the training batches"
        put_back(self.model.state_dict().values(), self.average)
        bns = [m for m in self.model.modules() if isinstance(m, BN)]
        for m in bns if self.swa else ():
            m.reset_running_stats()
            m.momentum = None
        self.model.train()
        with torch.no_grad():
            for x in [x for x, _ in epochs[0][1] if all(o.isfinite().all() for o in x)] if self.swa else (): self.forward(dict(x=x))
        for m in bns: m.momentum = .1
