"""A commit typed key by key: what an editor shows a language server, step by step.

Files come in the order of their paths, hunks from the top; lines that go are deleted at once, lines
that come are typed: each key is a step, some lines are accepted as completions after a few keys, Enter
brings the next line's indentation. The first step of a hunk is a jump, of a file a switch."""
import context_places as places

JUMP_LINES, ACCEPT_SHARE = 8, 0.6
KINDS = ("key", "newline", "accept", "jump", "switch", "open")


def hunk_steps(before, added, after, random_of):
    """(kind, text before the cursor, text behind it) for one hunk."""
    typed = before
    for i, line in enumerate(added):
        line = line.rstrip("\n")
        indent = len(line) - len(line.lstrip())
        typed += line[:indent]
        yield ("newline" if i else "jump"), typed, "\n" + after
        accepted = random_of.random() < ACCEPT_SHARE
        keys = random_of.randrange(3, 9) if accepted else len(line)
        for n in range(indent + 1, min(indent + keys, len(line)) + 1):
            yield "key", typed + line[indent:n], "\n" + after
        if accepted and indent + keys < len(line):
            yield "accept", typed + line[indent:], "\n" + after
        typed += line[indent:] + "\n"


def file_steps(path, old, new, seen, random_of):
    """(kind, content, cursor byte) of one file's part of a commit."""
    old_lines, done, at, first = old.splitlines(True), "", 0, True
    for line, n_removed, added in places.edits_of(old_lines, new.splitlines(True)):
        done += "".join(old_lines[at:line])
        at = line + n_removed
        for kind, before, behind in hunk_steps(done, added, "".join(old_lines[at:]), random_of):
            if kind == "jump" and first:
                kind = "switch" if path in seen else "open"
                seen.append(path)
            first = False
            yield kind, before + behind, len(before.encode())
        done += "".join(added)


class Typist:
    """Types commits; gathers tokens not in cache by kind of step, and whether definitions were there
    when they were needed, beside a prompt that was made for the place alone."""

    def __init__(self, tool, budget, shows):
        self.tool, self.budget, self.shows = tool, budget, shows
        self.missing = {kind: [] for kind in KINDS}
        self.gather_us = []
        self.n_places = self.n_typed = self.n_fresh = 0

    def step(self, kind, path, content, cursor, recent, place=None, tree=None):
        answer = self.tool.ask(op="type", path=path, content=content, cursor=cursor,
                               budget=self.budget, recent=recent, want_text=place is not None)
        self.missing[kind].append((answer["missing"], answer["tokens"], answer["block"],
                                   answer["plan_changed"]))
        self.gather_us.append(answer["gather_us"])
        if place:
            fresh = self.tool.place(dict(place, recent=recent), True, [self.budget])
            self.n_places += 1
            self.n_typed += self.shows(answer["text"], place, tree)
            self.n_fresh += self.shows(fresh["prompts"][0]["text"], place, tree)

    def file(self, tree, event, seen, recent, random_of, limit):
        _, path, old, new, found = event
        by_place = {(p["cursor"], p["content"]): p for p in found}
        n = 0
        for kind, content, cursor in file_steps(path, old, new, seen, random_of):
            if n >= limit:
                break
            self.step(kind, path, content, cursor, recent, by_place.get((cursor, content)), tree)
            n += 1
        return n

    def commit(self, tree, commit, random_of, limit):
        """At most `limit` steps; returns how many."""
        n, recent, seen = 0, [], []
        for event in places.replay(tree, commit, random_of):
            if n >= limit:
                break
            if event[0] == "begin":
                self.tool.ask(op="open", root=str(tree.at))
            elif event[0] == "written":
                self.tool.ask(op="changed", paths=[event[1]])
            else:
                n += self.file(tree, event, seen, recent, random_of, limit - n)
                recent = [[event[1], line + 1] for line, _, _ in
                          places.edits_of(event[2].splitlines(True), event[3].splitlines(True))][::-1] + recent
                n += self.look_back(tree, event[1], seen, recent)
        return n

    def look_back(self, tree, path, seen, recent):
        """To the file before, where it was left."""
        before = [p for p in seen if p != path]
        content = tree.read(before[-1]) if before else None
        if not content:
            return 0
        line = next((line for p, line in recent if p == before[-1]), 1)
        cursor = len("".join(content.splitlines(True)[:line]).encode())
        self.step("switch", before[-1], content, cursor, recent)
        return 1
