"""Counts primes by trial division, in plain Python: as fast as one core is. Exit status 1 where the count is wrong."""

import math
import sys


def main(below: int) -> int:
    found: list[int] = []
    for n in range(2, below):
        root = math.isqrt(n)
        for p in found:
            if p > root:
                found.append(n)
                break
            if n % p == 0:
                break
        else:
            found.append(n)
    print(len(found))
    return 0 if below < 1000 or 0.9 < len(found) * math.log(below) / below < 1.3 else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
