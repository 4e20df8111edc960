#!/usr/bin/env python3
"""Is what the next tokens need in the prompt? Recall of definitions at places of real commits, beside
three ways that are in use elsewhere; what each source is worth; tokens not in cache while commits are
typed. Needs git and universal-ctags, no model. The same seed and repositories give the same places."""
import argparse
import collections
import json
import pathlib
import random
import re
import subprocess
import sys
import time

import context_baselines
import context_places as places
import context_replay

BUDGETS = [1024, 2048, 4096, 8192, 16384, 32768]
BLOCK = re.compile(r"^From ([^\n]*?), (?:lines (\d+) to (\d+)|signatures):\n(`{3,})[^\n]*\n(.*?)\n\4$",
                   re.M | re.S)


class Tool:
    """build/tools/context_ask: one question, one answer."""

    def __init__(self, build):
        self.process = subprocess.Popen([build / "tools/context_ask"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.sources = self.process.stdout.readline().decode().split()

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("bench-context: the tool ended")
        answer = json.loads(answer)
        if "error" in answer:
            sys.exit(f"bench-context: {answer['error']}")
        return answer

    def place(self, place, proposal, budgets=BUDGETS, without=0):
        return self.ask(op="ask", path=place["path"], content=place["content"],
                        cursor=place["cursor"], recent=place["recent"], budgets=budgets,
                        without=without, proposal=proposal, want_found=proposal is True)


def shows_definition(text, place, tree):
    """Whether an excerpt of the definition's file shows the line that ctags named, or a signature that
    begins as that line does up to the name."""
    for m in BLOCK.finditer(text):
        path, first, last, body = m.group(1), m.group(2), m.group(3), m.group(5)
        for line in place["homes"].get(path, []):
            if first:
                if int(first) <= line <= int(last):
                    return True
                continue
            head = definition_head(tree, path, line, place["name"])
            if any(has_head(row, head) for row in body.split("\n")):
                return True
    return False


def definition_head(tree, path, line, name):
    lines = (tree.read(path) or "").splitlines()
    row = " ".join(lines[line - 1].split()) if line <= len(lines) else ""
    row = re.sub(r"^((export|default|declare) )+", "", row)  # no part of the definition
    m = re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", row)
    return row[:m.end()] if m else name


def has_head(row, head):
    row = " ".join(row.split())
    at = row.find(head)
    if at < 0 or (at > 0 and re.match(r"[\w$]", row[at - 1])):
        return False
    return not re.match(r"[\w$]", row[at + len(head):at + len(head) + 1])


def shows_name(text, place):
    """Whether the name stands anywhere in what is shown: then it can at least be copied."""
    return re.search(rf"(?<![\w$]){re.escape(place['name'])}(?![\w$])", text) is not None


class Recall:
    """Counts of one method: places by budget; where the definition was shown, of these where the file
    did not have the name before; where the name was shown anywhere, to be copied at least; and of the
    names in the next ten true lines that stand nowhere in the file, how many are shown anywhere."""

    def __init__(self):
        self.n, self.n_new, self.n_ahead, self.definition, self.new, self.name, self.ahead = (
            collections.Counter() for _ in range(7))

    def add(self, answer, place, tree, budgets=BUDGETS):
        is_new = not shows_name(place["content"], place)
        there = set(places.NAME.findall(place["content"]))
        ahead = [name for name in place["ahead"] if name not in there]
        for budget, prompt in zip(budgets, answer["prompts"]):
            self.n[budget] += 1
            self.n_new[budget] += is_new
            self.n_ahead[budget] += len(ahead)
            if prompt:
                shown = shows_definition(prompt["text"], place, tree)
                self.definition[budget] += shown
                self.new[budget] += shown and is_new
                self.name[budget] += shows_name(prompt["text"], place)
                self.ahead[budget] += len(set(places.NAME.findall(prompt["text"])) & set(ahead))

    def share(self, budget, what="definition"):
        n = {"new": self.n_new, "ahead": self.n_ahead}.get(what, self.n)[budget]
        return getattr(self, what)[budget] / n if n else float("nan")


class Bench:
    def __init__(self, args):
        self.args = args
        self.tool = Tool(args.build)
        self.recall = {}    # repository -> method -> Recall
        self.ablation = collections.defaultdict(Recall)
        self.misses, self.times = [], collections.defaultdict(list)
        self.typist = context_replay.Typist(self.tool, 8192, shows_definition)
        self.source_us = collections.defaultdict(list)

    def methods(self, place, baselines):
        yield "file alone", False
        yield "jaccard", baselines.jaccard(place, places.family_of)
        yield "bm25", baselines.bm25(place, places.family_of)
        yield "dbrx-ls", True

    def place(self, name, tree, baselines, place):
        for method, proposal in self.methods(place, baselines):
            if self.args.only_ours and proposal is not True:
                continue
            answer = self.tool.place(place, proposal)
            self.recall[name][method].add(answer, place, tree)
            if proposal is True:
                again = self.tool.place(place, True, [])
                for kind in ("gather_us", "gather_cpu_us"):
                    self.times[f"a new file, {kind[7:-3] or 'clock'}"].append(answer[kind])
                    self.times[f"again, {kind[7:-3] or 'clock'}"].append(again[kind])
                for source, us in zip(self.tool.sources, answer["source_us"]):
                    self.source_us[source].append(us)
                prompt = answer["prompts"][BUDGETS.index(self.args.misses_at)] or {"text": ""}
                if not shows_definition(prompt["text"], place, tree):
                    self.misses.append((name, place, prompt["text"], rank_of(answer["found"], place)))
        for i, source in enumerate(self.tool.sources if self.args.ablate else []):
            answer = self.tool.place(place, True, self.args.ablate, 1 << i)
            self.ablation[source].add(answer, place, tree, self.args.ablate)

    def repository(self, path):
        name = pathlib.Path(path).resolve()
        name = name.parent.name if name.name in ("repo", ".git") else name.name
        tree = places.Tree(pathlib.Path(path).resolve(), self.args.work / name)
        baselines = context_baselines.Baselines(tree)
        self.recall[name] = collections.defaultdict(Recall)
        random_of, n = random.Random(f"{self.args.seed} {name}"), 0
        for commit in places.commits_of(tree, random_of):
            if n >= self.args.positions:
                break
            left = min(self.args.each, self.args.positions - n)
            n += self.commit(name, tree, baselines, commit, random_of, left)
            if sys.stderr.isatty():
                print(f"\r{name}: {n} of {self.args.positions} places", end="", file=sys.stderr)
        print(f"\r{name}: {n} places of {self.args.positions}", file=sys.stderr)

    def commit(self, name, tree, baselines, commit, random_of, n_max):
        n = 0
        for event in places.replay(tree, commit, random_of):
            if n >= n_max:
                break
            if event[0] == "begin":
                self.tool.ask(op="open", root=str(tree.at))
            elif event[0] == "written":
                self.tool.ask(op="changed", paths=[event[1]])
            else:
                found = event[4]
                for place in random_of.sample(found, min(2, len(found), n_max - n)):
                    self.place(name, tree, baselines, place)
                    n += 1
        return n


    def replay(self, path):
        """Commits of a repository typed key by key."""
        name = pathlib.Path(path).resolve()
        name = name.parent.name if name.name in ("repo", ".git") else name.name
        tree = places.Tree(pathlib.Path(path).resolve(), self.args.work / name)
        random_of, n = random.Random(f"{self.args.seed} typed {name}"), 0
        for commit in places.commits_of(tree, random_of):
            if n >= self.args.keys:
                break
            n += self.typist.commit(tree, commit, random_of,
                                    min(self.args.keys - n, max(50, self.args.keys // 10)))
        print(f"{name}: {n} steps typed", file=sys.stderr)


def replay_print(bench):
    blocks, limits = {}, {"key": 64, "newline": 160, "accept": 160, "jump": 4096}
    print("\nTokens not in cache after a step of typing commits (budget 8192):")
    print("| step | n | p50 | p90 | p99 | wanted p90 | plan changed |")
    print("|---|---|---|---|---|---|---|")
    for kind in context_replay.KINDS:
        rows = bench.typist.missing[kind]
        if not rows:
            continue
        values = [row[0] for row in rows]
        wanted = limits.get(kind) or f"all but system, map ({percentile([r[1] for r in rows], 0.9)})"
        print(f"| {kind} | {len(rows)} | {percentile(values, 0.5)} | {percentile(values, 0.9)} | "
              f"{percentile(values, 0.99)} | {wanted} | "
              f"{100 * sum(r[3] for r in rows) / len(rows):.1f} % |")
        moved = collections.Counter(row[2] for row in rows if row[0] > 64)
        blocks[kind] = ", ".join(f"{block} {n}" for block, n in moved.most_common())
    for kind, words in blocks.items():
        if words:
            print(f"  first block that moved where over 64, {kind}: {words}")
    t = bench.typist
    print(f"Definitions there when they were needed, at {t.n_places} places: "
          f"{percent(t.n_typed / max(1, t.n_places))} %, in a prompt made for the place alone "
          f"{percent(t.n_fresh / max(1, t.n_places))} %; gathering p99 "
          f"{percentile(t.gather_us, 0.99) / 1e3:.1f} ms by the clock")


def percent(x):
    return f"{100 * x:5.1f}" if x == x else "    -"


def mean_recall(bench, method, budget, what="definition"):
    """Of repositories, each counting the same."""
    all_of = [r[method].share(budget, what) for r in bench.recall.values() if r[method].n[budget]]
    all_of = [share for share in all_of if share == share]  # some have no such places
    return sum(all_of) / len(all_of) if all_of else float("nan")


def table_print(bench):
    methods = [m for m in ("file alone", "jaccard", "bm25", "dbrx-ls")
               if any(r[m].n for r in bench.recall.values())]
    print("\nDefinition in the prompt, % of places:")
    print(f"| {'repository':24} | {'places':>6} | {'method':10} |" +
          "".join(f" {b:>6} |" for b in BUDGETS))
    print("|---|---|---|" + "---|" * len(BUDGETS))
    for name, recall in bench.recall.items():
        for method in methods:
            print(f"| {name:24} | {recall[method].n[BUDGETS[0]]:6} | {method:10} |" +
                  "".join(f" {percent(recall[method].share(b)):>6} |" for b in BUDGETS))
    for method in methods:
        print(f"| {'mean':24} |        | {method:10} |" +
              "".join(f" {percent(mean_recall(bench, method, b)):>6} |" for b in BUDGETS))
    if len(methods) == 4:
        best = [max(mean_recall(bench, m, b) for m in methods[:3]) for b in BUDGETS]
        closed = [(mean_recall(bench, "dbrx-ls", b) - x) / (1 - x) for b, x in zip(BUDGETS, best)]
        print(f"| {'gap closed':24} |        | {'':10} |" +
              "".join(f" {percent(x):>6} |" for x in closed))
    for what, title in (("new", "Of names that the file does not have yet"),
                        ("name", "The name anywhere in the prompt, to be copied"),
                        ("ahead", "Names of the next ten lines that the file does not have, shown anywhere")):
        print(f"\n{title}, % of places (mean):")
        for method in methods:
            print(f"| {method:10} |" + "".join(
                f" {percent(mean_recall(bench, method, b, what)):>6} |" for b in BUDGETS))


def rank_of(found, place):
    """Where in the proposal the definition stands, and what stands before it."""
    for i, (path, content, source, score) in enumerate(found):
        if path in place["homes"] and shows_name(content, place):
            return f"number {i + 1} of {len(found)}, by {source}, {score:.2f} of {found[0][3]:.2f}"
    return f"not among {len(found)}"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def ablation_print(bench):
    whole = Recall()
    for methods in bench.recall.values():
        for field in ("n", "n_new", "n_ahead", "definition", "new", "name", "ahead"):
            getattr(whole, field).update(getattr(methods["dbrx-ls"], field))
    columns = [(b, w) for b in bench.args.ablate for w in ("definition", "new", "name", "ahead")]
    print("\nWith a source left out, % of all places and the difference (definition in the prompt; of "
          "names new to the file; name anywhere; names of the next ten lines new to the file):")
    print("| without    |" + "".join(f" {b} {w} |" for b, w in columns))
    print("|---|" + "---|" * len(columns))
    print("| nothing    |" + "".join(f" {percent(whole.share(b, w))} |" for b, w in columns))
    for source, recall in bench.ablation.items():
        print(f"| {source:10} |" + "".join(
            f" {100 * (recall.share(b, w) - whole.share(b, w)):+5.1f} |" for b, w in columns))


def times_print(bench):
    print("\nGathering, ms (the clock of this machine):")
    for name, values in list(bench.times.items()) + list(bench.source_us.items()):
        print(f"  {name:18} p50 {percentile(values, 0.5) / 1e3:6.2f}  p90 "
              f"{percentile(values, 0.9) / 1e3:6.2f}  p99 {percentile(values, 0.99) / 1e3:6.2f}")


def misses_print(bench):
    for name, place, text, rank in bench.misses[:bench.args.misses]:
        content = place["content"].encode()
        line = content[:place["cursor"]].decode(errors="replace").splitlines()[-1:]
        blocks = [(m.group(1), m.group(2)) for m in BLOCK.finditer(text)]
        print(f"\nMISS {name} {place['path']} wants {place['name']} of {place['homes']}: {rank}"
              f"\n  at: {''.join(line)}|\n  shown: {blocks}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repos", nargs="*", help="git repositories, with work trees or bare")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--work", type=pathlib.Path, help="where clones are kept (BUILD/context)")
    parser.add_argument("--positions", type=int, default=100, help="places of each repository")
    parser.add_argument("--each", type=int, default=3, help="places of one commit, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ablate", type=lambda s: [int(b) for b in s.split(",")], default=[],
                        help="budgets at which each source is left out once, as 2048,8192")
    parser.add_argument("--keys", type=int, default=0,
                        help="type commits of each repository, so many steps")
    parser.add_argument("--only-ours", action="store_true", help="without the baselines")
    parser.add_argument("--misses", type=int, default=0, help="show so many places we miss")
    parser.add_argument("--misses-at", type=int, default=8192, help="... under this budget")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if not args.repos:
        parser.error("name repositories: make bench-context REPOS=\"PATH...\"")
    args.build = args.build.resolve()
    args.work = (args.work or args.build / "context").resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    bench, from_s = Bench(args), time.time()
    for path in args.repos:
        if args.positions:
            bench.repository(path)
        if args.keys:
            bench.replay(path)
    if args.positions:
        table_print(bench)
    if args.keys:
        replay_print(bench)
    if args.ablate:
        ablation_print(bench)
    times_print(bench)
    misses_print(bench)
    print(f"\nseed {args.seed}, {time.time() - from_s:.0f} s")
    if args.json:
        args.json.write_text(json.dumps({
            "seed": args.seed, "positions": args.positions, "budgets": BUDGETS,
            "recall": {name: {m: {"n": r.n[BUDGETS[0]],
                                  "definition": [r.definition[b] for b in BUDGETS],
                                  "new": [r.new[b] for b in BUDGETS], "n_new": r.n_new[BUDGETS[0]],
                                  "ahead": [r.ahead[b] for b in BUDGETS],
                                  "n_ahead": r.n_ahead[BUDGETS[0]],
                                  "name": [r.name[b] for b in BUDGETS]} for m, r in methods.items()}
                       for name, methods in bench.recall.items()},
            "without": {s: {w: {str(b): getattr(r, w)[b] for b in args.ablate}
                            for w in ("definition", "new", "name", "ahead")}
                        for s, r in bench.ablation.items()},
            "tokens_not_in_cache": {kind: {"n": len(rows), **{f"p{q}": percentile(
                [row[0] for row in rows], q / 100) for q in (50, 90, 99)}}
                for kind, rows in bench.typist.missing.items() if rows},
            "gather_ms_p99": {name: percentile(values, 0.99) / 1e3
                              for name, values in bench.times.items()}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
