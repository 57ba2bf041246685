"""Reads JSON result files and writes a table of their numbers. Runs at a site; standard library only."""

import argparse
import glob
import json
import sys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", default="*.json")
    parser.add_argument("--at-least", type=int, default=1)
    parser.add_argument("--out", default="summary.json")
    parser.add_argument("fields", nargs="*")
    args = parser.parse_args()

    rows, broken = [], []
    for path in sorted(glob.glob(args.pattern)):
        if path == args.out:
            continue
        try:
            with open(path, encoding="utf-8") as f:
                found = json.load(f)
        except (OSError, ValueError) as e:
            broken.append({"file": path, "error": str(e)})
            continue
        numbers = {
            k: v
            for k, v in (found.items() if isinstance(found, dict) else ())
            if isinstance(v, (int, float)) and not isinstance(v, bool) and (not args.fields or k in args.fields)
        }
        rows.append({"file": path, **numbers})
    names = sorted({k for r in rows for k in r if k != "file"})
    columns = {n: [r[n] for r in rows if n in r] for n in names}
    summary = {
        "files": len(rows),
        "broken": broken,
        "mean": {n: sum(c) / len(c) for n, c in columns.items()},
        "min": {n: min(c) for n, c in columns.items()},
        "max": {n: max(c) for n, c in columns.items()},
        "rows": rows,
    }
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(summary, f, indent=1, sort_keys=True)
    print(f"{len(rows)} files, {len(broken)} unreadable, {len(names)} fields")
    if broken or len(rows) < args.at_least:
        print(f"{len(rows)} readable files, {args.at_least} wanted, {len(broken)} unreadable", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
