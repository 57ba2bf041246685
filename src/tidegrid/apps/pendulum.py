"""Period of a pendulum by integration (Runge-Kutta of fourth order), and the exact one by the arithmetic-geometric mean."""

import argparse
import json
import math


def mean(a: float, b: float) -> float:
    """Arithmetic-geometric mean."""
    while abs(a - b) > 1e-15 * a:
        a, b = (a + b) / 2, math.sqrt(a * b)
    return a


def quarter(amplitude: float, dt: float) -> float:
    """Time from the turning point to the first zero, in units of sqrt(l/g)."""

    def slope(x: float, v: float) -> "tuple[float, float]":
        return v, -math.sin(x)

    t, x, v = 0.0, amplitude, 0.0
    while True:
        k1 = slope(x, v)
        k2 = slope(x + dt / 2 * k1[0], v + dt / 2 * k1[1])
        k3 = slope(x + dt / 2 * k2[0], v + dt / 2 * k2[1])
        k4 = slope(x + dt * k3[0], v + dt * k3[1])
        nx = x + dt / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        nv = v + dt / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
        if nx <= 0:
            # the zero of the cubic through both ends and slopes, by Newton's method
            s = x / (x - nx)
            for _ in range(20):
                h = (2 * s**3 - 3 * s**2 + 1) * x + (s**3 - 2 * s**2 + s) * dt * v
                h += (3 * s**2 - 2 * s**3) * nx + (s**3 - s**2) * dt * nv
                d = (6 * s**2 - 6 * s) * x + (3 * s**2 - 4 * s + 1) * dt * v + (6 * s - 6 * s**2) * nx
                d += (3 * s**2 - 2 * s) * dt * nv
                s -= h / d
            return t + s * dt
        t, x, v = t + dt, nx, nv


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--first", type=float, required=True)
    p.add_argument("--step", type=float, required=True)
    p.add_argument("--task", type=int, required=True)
    p.add_argument("--steps", type=int, default=4000)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    amplitude = round(a.first + a.task * a.step, 12)
    if not 0 < amplitude < math.pi:
        p.error(f"task {a.task}: an amplitude of {amplitude} is not between 0 and pi")
    exact = 2 * math.pi / mean(1.0, math.cos(amplitude / 2))
    found = 4 * quarter(amplitude, exact / a.steps)
    result = {"task": a.task, "amplitude": amplitude, "period": found, "ratio": found / (2 * math.pi), "error": abs(found / exact - 1)}
    with open(a.out, "w") as file:
        json.dump(result, file)
    print(json.dumps(result))


main()
