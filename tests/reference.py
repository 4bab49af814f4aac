"""What callbacks must give together: each trick from its paper in one plain PyTorch loop, without a Learner or anything of this package."""
import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

BN = nn.modules.batchnorm._BatchNorm


def copies(tensors): return [None if t is None else t.detach().clone() for t in tensors]

def put_back(tensors, values):
    for t, value in zip(tensors, values, strict=True): t.data.copy_(value)

def up(generator, shape):
    "Up (1) or down (-1), by chance"
    return 2*torch.randint(2, shape, generator=generator) - 1


class Reference:
    "Trains `model` with `opt`, one of PyTorch's; every other option is one trick. Several processes each have their own batches"
    def __init__(self, model, opt, n_acc=0, clip=None, mixup=0., sam=0., awp=0., ema=0., swa=0, keep=1., mask=False, skip=False,
                 amp=None, scale=1., keep_scale=False, rounding=None):
        self.model, self.opt, self.n_acc, self.clip, self.mixup, self.sam, self.awp = model, opt, n_acc, clip, mixup, sam, awp
        self.rounding = rounding            # a generator: each step's weights move by one rounding, as on another processor
        self.ema, self.swa, self.keep, self.mask, self.skip, self.amp, self.first_scale = ema, swa, keep, mask, skip, amp, scale
        self.average, self.n_taken, self.keep_scale, self.scale = None, 0, keep_scale, scale

    def fit(self, epochs, schedule):
        "`epochs`: for each its random state and batches; `schedule`: from the part of the training that is done and a group to its options"
        self.micro, self.since = [], 0
        if not self.keep_scale: self.scale = self.first_scale
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.round()
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
            with torch.no_grad(): idx = self.hardest(self.losses(batch))
            self.model.train()
            put_back(self.model.buffers(), buffers)
            batch['x'] = tuple(o[idx] for o in x)
            batch |= {k: batch[k][idx] for k in ('y', 'y1', 'lam') if batch[k] is not None}
        return batch

    def hardest(self, losses):
        "Never those whose loss is no number"
        losses = losses.where(losses.isfinite(), -torch.inf)
        return losses.argsort(descending=True, stable=True)[:math.ceil(self.keep*len(losses) - 1e-9)].sort().values

    def losses(self, batch):
        "Of each sample. Processes have the first one's buffers, as under `DistributedDataParallel`"
        for b in self.model.buffers() if self.ranks > 1 else (): dist.broadcast(b, 0)
        with self.autocast():
            out = self.model(*batch['x'])
            if isinstance(out, tuple): out = out[0]                         # a recurrent model gives its states too
            loss = F.cross_entropy(out, batch['y'], reduction='none')
            return loss if batch['y1'] is None else torch.lerp(F.cross_entropy(out, batch['y1'], reduction='none'), loss, batch['lam'])

    def backward(self, batch):
        losses = self.losses(batch)
        if self.mask and self.keep < 1:
            if batch['idx'] is None: batch['idx'] = self.hardest(losses.detach())
            losses = losses[batch['idx']]
        (self.scale*losses.mean()*(batch['n']/self.n_acc if self.n_acc else 1.)).backward()
        return losses.mean().detach()

    def autocast(self): return torch.autocast('cpu', self.amp or torch.bfloat16, enabled=self.amp is not None)
    def grads(self): return [p.grad for p in self.model.parameters() if p.grad is not None]
    def mean(self, t): return t if self.ranks == 1 else (dist.all_reduce(t), t.div_(self.ranks))[1]    # over processes, in place

    def finite(self, loss):
        "In all processes? Under loss scaling gradients may overflow"
        bad = (~loss.isfinite()).double() if self.scale > 1 else sum((~g.isfinite()).sum() for g in [loss, *self.grads()]).double()
        return not self.mean(bad)

    def unscaled(self):
        "Loss scaling (Micikevicius et al. 2018): False after an overflow"
        for g in self.grads(): self.mean(g).div_(self.scale)
        return all(g.isfinite().all() for g in self.grads())

    def step(self, schedule, t):
        if self.unscaled() and (not (self.sam or self.awp) or self.climb_and_return()):
            if self.clip: nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            for group in self.opt.param_groups: group |= schedule(t, group)
            self.opt.step()
            self.round()
            self.averages(t)
        else: self.scale /= 2
        self.opt.zero_grad()
        self.micro = []

    def round(self):
        "Each weight up or down by its last bit, in every process alike"
        for p in self.model.parameters() if self.rounding else ():
            p.data.mul_(1 + up(self.rounding, p.shape).to(p.dtype)*torch.finfo(p.dtype).eps)

    def climb_and_return(self):
        "SAM (Foret et al. 2021), AWP (Wu et al. 2020): the gradient at higher weights, of the same samples and masks"
        named = {n: p for n, p in self.model.named_parameters() if p.grad is not None and p.requires_grad}
        params, buffers, first = copies(named.values()), copies(self.model.buffers()), copies(p.grad for p in named.values())
        norm = torch.stack([g.norm() for g in first]).norm()
        for n, p in named.items():
            if self.sam: p.data.add_(p.grad*(self.sam/(norm + 1e-12)))
            elif 'weight' in n: p.data.add_((self.awp*p.grad*(p.norm() + 1e-6)/(p.grad.norm() + 1e-6)).clamp(-.01*p.abs(), .01*p.abs()))
            p.grad.zero_()
        with torch.random.fork_rng([]):
            for batch in self.micro:
                torch.set_rng_state(batch['rng'])
                self.backward(batch)
        put_back(named.values(), params)
        put_back(self.model.buffers(), buffers)
        ok = self.unscaled()
        for p, g in zip(named.values(), first, strict=True): p.grad += g if self.awp else 0          # SAM replaces
        return ok

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
        bns = [m for m in self.model.train().modules() if isinstance(m, BN) and self.swa]
        for m in bns: m.reset_running_stats(), setattr(m, 'momentum', None)
        with torch.no_grad(), self.autocast():
            for x in [x for x, _ in epochs[0][1] if bns and all(o.isfinite().all() for o in x)]: self.model(*x)
        for m in bns: self.mean(m.running_mean), self.mean(m.running_var), setattr(m, 'momentum', .1)
