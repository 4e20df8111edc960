"""Two ways to choose excerpts that are in use elsewhere, written for the comparison.

Both see what our retrieval sees: the same document and cursor, the same files. Windows are WINDOW
lines, every STEP lines; what they propose is laid out by the same prompt under the same budget."""
import collections
import math
import re

WINDOW, STEP, QUERY_ABOVE, QUERY_BELOW, PROPOSED_MAX = 20, 10, 20, 5, 200
WORD = re.compile(r"[A-Za-z_$][\w$]*")
HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def windows_of(text):
    """[(first line from 1, lines)]"""
    lines = text.splitlines(True)
    return [(at + 1, lines[at:at + WINDOW]) for at in range(0, max(1, len(lines) - STEP), STEP)]


def words_of(text):
    """Identifiers, and their parts where they have several."""
    words = []
    for word in WORD.findall(text):
        words.append(word.lower())
        parts = HUMP.findall(word)
        if len(parts) > 1:
            words += [p.lower() for p in parts if len(p) > 2]
    return words


def query_of(place):
    content, cursor = place["content"].encode(), place["cursor"]
    above = content[:cursor].decode(errors="replace").splitlines()[-QUERY_ABOVE:]
    below = content[cursor:].decode(errors="replace").splitlines()[:QUERY_BELOW]
    return "\n".join(above + below)


def excerpts_of(ranked):
    """Best first, without what overlaps better ones."""
    taken, out = {}, []
    for score, path, line, lines in ranked:
        if score <= 0 or len(out) == PROPOSED_MAX:
            break
        if any(abs(line - other) < WINDOW for other in taken.get(path, [])):
            continue
        taken.setdefault(path, []).append(line)
        out.append({"path": path, "line": line, "n_lines": len(lines), "content": "".join(lines),
                    "score": 1.0 + score})
    return out


class Baselines:
    def __init__(self, tree):
        self.tree = tree
        self.cache = {}

    def windows(self, path):
        """[(line, lines, count of each word, n words)] of a file as it is now."""
        key = (path, self.tree.files.get(path))
        if key not in self.cache:
            text = self.tree.read(path)
            self.cache[key] = []
            for line, lines in windows_of(text) if text else []:
                counts = collections.Counter(words_of("".join(lines)))
                self.cache[key].append((line, lines, counts, sum(counts.values())))
        return self.cache[key]

    def jaccard(self, place, family_of):
        """Windows of the files opened last that share the largest part of their words."""
        query, ranked = set(words_of(query_of(place))), []
        for path in place["opened"]:
            if path == place["path"] or family_of(path) != place["family"]:
                continue
            for line, lines, counts, _ in self.windows(path):
                both = len(query & counts.keys())
                ranked.append((both / max(1, len(query | counts.keys())), path, line, lines))
        return excerpts_of(sorted(ranked, key=lambda r: (-r[0], r[1], r[2])))

    def bm25(self, place, family_of, k1=1.2, b=0.75):
        """Windows of the whole repository (Robertson and Zaragoza 2009)."""
        query = set(words_of(query_of(place)))
        windows = [(path, *w) for path in self.tree.files if path != place["path"] and
                   family_of(path) == place["family"] for w in self.windows(path)]
        n, found = len(windows), collections.Counter()
        for _, _, _, counts, _ in windows:
            found.update(query & counts.keys())
        mean = sum(w[4] for w in windows) / max(1, n)
        idf = {word: math.log(1 + (n - df + 0.5) / (df + 0.5)) for word, df in found.items()}
        ranked = []
        for path, line, lines, counts, size in windows:
            score = 0.0
            for word in query & counts.keys():
                tf = counts[word]
                score += idf[word] * tf * (k1 + 1) / (tf + k1 * (1 - b + b * size / mean))
            ranked.append((score, path, line, lines))
        return excerpts_of(sorted(ranked, key=lambda r: (-r[0], r[1], r[2])))
