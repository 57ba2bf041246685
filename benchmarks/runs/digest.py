"""SHA-256 of so many MiB, 1 MiB at a time: as fast as the instructions that OpenSSL may use. Exit status 1 where the sum is wrong."""

import hashlib
import sys

DATA = bytes(range(256)) * 4096
FIRST = "fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83"


def main(mib: int) -> int:
    for _ in range(mib):
        found = hashlib.sha256(DATA).hexdigest()
    print(found)
    return 0 if found == FIRST else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
