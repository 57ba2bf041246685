"""Regression of y = sin(3 a) + b^2 with a network of two hidden layers, in JAX. Deterministic for a seed on one kind of device."""

import argparse
import json
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

B1, B2, EPS = 0.9, 0.999, 1e-8


def first(key: Any, width: int) -> Any:
    sizes = [2, width, width, 1]
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (a, b)) * jnp.sqrt(2.0 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def predict(params: Any, x: Any) -> Any:
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    w, b = params[-1]
    return (x @ w + b)[:, 0]


def loss(params: Any, x: Any, y: Any) -> Any:
    return jnp.mean((predict(params, x) - y) ** 2)


def adam(params: Any, grads: Any, state: Any, rate: float, _: float) -> Any:
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, grads)
    v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, grads)
    step = lambda p, m, v: p - rate * (m / (1 - B1**t)) / (jnp.sqrt(v / (1 - B2**t)) + EPS)  # noqa: E731
    return jax.tree.map(step, params, m, v), (m, v, t)


def sgd(params: Any, grads: Any, state: Any, rate: float, momentum: float) -> Any:
    m, v, t = state
    m = jax.tree.map(lambda m, g: momentum * m + g, m, grads)
    return jax.tree.map(lambda p, m: p - rate * m, params, m), (m, v, t + 1)


def save(path: str, epoch: int, everything: Any) -> None:
    """Under another name first: a checkpoint that has its name is whole."""
    leaves = jax.tree.leaves(everything)
    with open(path + ".tmp", "wb") as file:
        arrays: Any = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        np.savez(file, epoch=epoch, **arrays)
    os.replace(path + ".tmp", path)


def load(path: str, like: Any) -> Any:
    with np.load(path) as found:
        leaves = [jnp.asarray(found[f"leaf{i}"]) for i in range(len(jax.tree.leaves(like)))]
        return int(found["epoch"]), jax.tree.unflatten(jax.tree.structure(like), leaves)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    for name in ("epochs", "samples", "batch", "width", "seed", "checkpoint-epochs"):
        p.add_argument("--" + name, type=int, required=True)
    p.add_argument("--optimizer", choices=["adam", "sgd"], required=True)
    p.add_argument("--learning-rate", type=float, required=True)
    p.add_argument("--momentum", type=float, default=0.0)
    p.add_argument("--resume", default="")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    batch = min(a.batch, a.samples)
    key, data = jax.random.split(jax.random.key(a.seed))
    x = jax.random.uniform(data, (a.samples, 2), minval=-1.0, maxval=1.0)
    y = jnp.sin(3 * x[:, 0]) + x[:, 1] ** 2
    params = first(key, a.width)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (zeros, zeros, jnp.zeros(()))
    update = adam if a.optimizer == "adam" else sgd
    n = a.samples // batch

    def epoch(params: Any, state: Any, key: Any) -> Any:
        order = jax.random.permutation(key, a.samples)[: n * batch].reshape(n, batch)

        def one(carry: Any, rows: Any) -> Any:
            params, state = carry
            grads = jax.grad(loss)(params, x[rows], y[rows])
            return update(params, grads, state, a.learning_rate, a.momentum), None

        return jax.lax.scan(one, (params, state), order)[0]

    step = jax.jit(epoch)
    initial = float(loss(params, x, y))
    begin = 0
    if a.resume:
        begin, (params, state) = load(a.resume, (params, state))
        print(f"goes on behind epoch {begin}", flush=True)
    began = time.perf_counter()
    for e in range(begin, a.epochs):
        params, state = step(params, state, jax.random.fold_in(key, e))
        if (e + 1) % a.checkpoint_epochs == 0:
            save("train.npz", e + 1, (params, state))
        if (e + 1) % max(1, a.epochs // 20) == 0:
            print(f"epoch {e + 1}/{a.epochs} loss {float(loss(params, x, y)):.6f}", flush=True)
    final = float(loss(params, x, y))
    result = {
        "epochs": a.epochs, "began_at": begin, "first_loss": initial, "loss": final,
        "seconds": time.perf_counter() - began, "device": str(jax.devices()[0].platform), "jax": jax.__version__,
    }  # fmt: skip
    with open(a.out, "w") as file:
        json.dump(result, file)
    print(json.dumps(result))


main()
