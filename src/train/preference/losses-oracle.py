"""Development only: losses over preferences by PyTorch, written from the papers, for ../pytorch-oracle.py.
Sequences are pairs: chosen, rejected, chosen, ...; `sequences` are their rows, `reference` their log-probabilities."""
import torch
from torch.nn.functional import logsigmoid


def losses_of(batch, logits, hidden):
    targets = torch.tensor(batch["targets"])
    logprobs = logits.log_softmax(-1).gather(1, targets.clamp(min=0)[:, None])[:, 0]
    rows = [[row for row in range(begin, end) if targets[row] >= 0] for begin, end in batch["sequences"]]
    tokens = [logprobs[own] for own in rows]
    sums = torch.stack([own.sum() for own in tokens])
    means = torch.stack([own.mean() for own in tokens])
    reference = torch.tensor(batch["reference"])
    beta = batch["beta"]
    losses = {}

    a, b = (sums - reference)[::2], (sums - reference)[1::2]
    h = a - b
    s = batch["labelSmoothing"]
    right, wrong = -logsigmoid(beta * h), -logsigmoid(-beta * h)
    losses["sigmoid"] = ((1 - s) * right + s * wrong).mean()
    losses["robust"] = (((1 - s) * right - s * wrong) / (1 - 2 * s)).mean()
    losses["hinge"] = torch.relu(1 - beta * h).mean()
    lengths = torch.tensor([len(own) for own in rows])
    mean_ratio = means - reference / lengths
    losses["ipo"] = ((mean_ratio[::2] - mean_ratio[1::2] - 1 / (2 * beta)) ** 2).mean()
    za, zb = a.mean().clamp(min=0), b.mean().clamp(min=0)
    losses["kto_pair"] = torch.cat([1 - torch.sigmoid(beta * (a - zb)), 1 - torch.sigmoid(beta * (za - b))]).mean()
    losses["sppo_hard"] = ((a - 0.5 / beta) ** 2 + (b + 0.5 / beta) ** 2).mean()
    losses["nca_pair"] = (-logsigmoid(beta * a) - (logsigmoid(-beta * a) + logsigmoid(-beta * b)) / 2).mean()

    chosen, rejected = means[::2], means[1::2]
    odds = lambda x: x - torch.log1p(-torch.exp(x))
    losses["orpo"] = (-chosen - beta * logsigmoid(odds(chosen) - odds(rejected))).mean()

    # Chosen answers are the good ones; the baseline is a number.
    losses["kto"] = torch.cat(
        [1 - torch.sigmoid(beta * (a - batch["baseline"])), 1 - torch.sigmoid(beta * (batch["baseline"] - b))]
    ).mean()

    last = torch.tensor([end - 1 for _, end in batch["sequences"]])
    rewards = hidden[last] @ torch.tensor(batch["valueHead"])
    d = rewards[::2] - rewards[1::2]
    p = 2 * torch.relu(torch.sigmoid(d) - 0.5)
    barrier = -torch.log(5 - rewards) - torch.log(5 + rewards)
    penalty = batch["penalty"] * (barrier[::2] + barrier[1::2])
    losses["ranking"] = (-logsigmoid(d) + penalty).mean()
    losses["focal"] = (-((1 - p) ** 2) * logsigmoid(d) + penalty).mean()

    advantages = torch.tensor(batch["advantages"])
    per_answer = []
    for own, advantage, old, by_reference in zip(tokens, advantages, batch["old"], batch["tokenReference"]):
        ratio = torch.exp(own - torch.tensor(old))
        clipped = ratio.clamp(1 - batch["clip"], 1 + batch["clip"])
        difference = torch.tensor(by_reference) - own
        divergence = torch.exp(difference) - difference - 1
        per_answer.append(-torch.min(ratio * advantage, clipped * advantage) + batch["klWeight"] * divergence)
    losses["grpo sequence"] = torch.stack([own.mean() for own in per_answer]).mean()
    losses["grpo token"] = torch.cat(per_answer).mean()
    return losses
