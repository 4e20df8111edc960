"""Places to complete, taken from a repository's history.

A commit is replayed onto its parent: its files in the order of their paths, each hunk's lines one by
one, those below not yet written. A place is a token's beginning in an added line, at or before a name
that another file defines and this one does not. What is defined where is said by universal-ctags, so
that nothing of the program under test judges itself. Only names with one home
count (a C header and one source file are one home), and that the language's own library does not have:
then there is no doubt which definition was meant. Names in imports, comments, strings do not count, nor
what stands inside a function and is nobody else's. Where modules say what they hand on and take
(TypeScript), a name by itself must be exported there and imported here, and one behind a dot be a
member: ctags takes "return" and "const" for methods at times, and locals for constants."""
import builtins
import difflib
import hashlib
import json
import pathlib
import random
import re
import subprocess

FAMILIES = {"c": "c h cc cpp cxx hpp hh", "python": "py", "go": "go", "rust": "rs", "java": "java",
            "ts": "ts tsx mts cts js mjs cjs jsx"}
FAMILY_OF = {"." + ending: family for family, endings in FAMILIES.items()
             for ending in endings.split()}
# Kinds of ctags that other files can name; the rest are fields, variables, locals.
WANTED = {"c": "define macro enumerator function enum prototype struct typedef union class",
          "python": "class function member", "go": "func const type struct interface methodSpec talias",
          "rust": "struct interface function enum typedef enumerator method macro constant",
          "java": "annotation class enum enumConstant interface method",
          "ts": "function class interface enum enumerator method namespace constant alias generator"}
INNER = {"function", "method", "func", "member", "generator", "getter", "setter"}  # have locals
MEMBERS = {"method", "enumerator", "generator"}
COMMIT_FILES_MAX, COMMIT_LINES_MAX, FILE_BYTES_MAX, AHEAD_LINES = 20, 400, 300_000, 10
NAME = re.compile(r"[A-Za-z_$][\w$]*")
TOKEN = re.compile(r"[A-Za-z_$][\w$]*|\d[\w.]*|[^\s\w]+")
STRINGS = {"python": r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'",
           "ts": r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`"}
STRING = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.[^']*|[^'\\])'|`[^`]*`"
IMPORTING = re.compile(r"\s*(#\s*include|import\b|from\b|use\b|pub use\b|mod\b|export\b.*\bfrom\b|"
                       r"package\b|\}\s*from\b|const .*\brequire\()")

# What containers, streams and objects of every language have: a call of it says nothing.
LIBRARY = set("""add all any append apply assert assign bind call catch clear clone close compare compareTo
    concat contains copy count create delete end entries equal equals error every exec exists exit filter
    find first flush forEach format from get getClass group has hash hashCode index init insert is
    isEmpty items iter join key keys last len length list load log map match max merge message min name
    next open parse path pop print println push put read ready reduce remove replace reset resolve
    result reverse run save search send set size slice some sort split start stop string sub test then
    time toJSON toString trim type update use value valueOf values wait write any boolean data event export function import never
    null number object options string symbol undefined unknown var void""".split())
RESERVED = set("""abstract as async await break case class const continue debugger declare default do else
    enum export extends finally for function if implements import in infer instanceof interface keyof let
    namespace new of override package private protected public readonly require return satisfies static
    super switch this throw try typeof while with yield""".split())
LIBRARY |= set(dir(builtins)) | {m for t in (dict, list, str, bytes, set, int, Exception, type(open))
                                 for m in dir(t)}
SYSTEM_HEADERS = [f"/usr/include/{name}.h" for name in
                  "stdint stdio stdlib string unistd errno fcntl signal ctype math pthread".split()]


def library_of_c():
    """stdint's types and what the C library's first headers declare."""
    out = subprocess.run(["ctags", "--kinds-C=+p", "-x", *SYSTEM_HEADERS], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, check=False).stdout
    return {line.split()[0] for line in out.decode(errors="replace").splitlines() if line.strip()} | \
        {f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64, "ptr", "max")}


def family_of(path):
    return FAMILY_OF.get(pathlib.PurePosixPath(path).suffix)


def code_of(line, family):
    """The line with strings and comments blanked out, at the same columns."""
    def blank(m):
        return " " * len(m.group(0))
    if family == "python":
        line = re.sub(r"(\"\"\"|''').*", blank, line)
    line = re.sub(STRINGS.get(family, STRING), blank, line)
    line = re.sub(r"#.*" if family == "python" else r"//.*|/\*.*?(\*/|$)", blank, line)
    return "" if re.match(r"\s*\*", line) and family != "python" else line


FROM_MODULES = re.compile(r"^\s*(?:import|export)\b([^;'\"`]*?)\bfrom\s*['\"]|"
                          r"\b(?:const|let|var)\b([^;=]*)=\s*require\(", re.M)
HANDED_ON = re.compile(r"^export\s+(?:default\s+(?=[\w$]+\s*;)|(?:type\s+)?\{([^}]*)\}|(?=\w))"
                       r"([^\n]*)", re.M)


def imported_names(text):
    """What a module takes from others, by the names it has for them."""
    return {name for m in FROM_MODULES.finditer(text) for name in NAME.findall(m.group(1) or m.group(2) or "")}


def exported_names(text):
    """What a module hands on: the names of its lines of "export", more than are meant by some, none
    less. Without imports and exports, a file is a script, whose names all see: None."""
    if not re.search(r"^\s*(import|export)\b|\brequire\(|\bexports\b", text, re.M):
        return None
    return {name for m in HANDED_ON.finditer(text)
            for name in NAME.findall((m.group(1) or "") + " " + (m.group(2) or ""))}


class Tree:
    """A repository's work tree with a cache of what each content defines."""

    def __init__(self, source, at):
        self.at = at
        self.cache = {}
        self.library = LIBRARY | library_of_c()
        if not (at / ".git").exists():
            subprocess.run(["git", "clone", "-q", "--no-checkout", str(source), str(at)], check=True)
        self.git("fetch", "-q", str(source), "HEAD")
        self.head = self.git("rev-parse", "FETCH_HEAD").decode().strip()

    def git(self, *words):
        return subprocess.run(["git", "-c", "core.quotepath=off", *words], cwd=self.at, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def checkout(self, commit):
        try:
            self.git("checkout", "-q", "-f", "--detach", commit)
        except subprocess.CalledProcessError:  # a copy may lack large files, which are no source
            if self.git("rev-parse", "HEAD") != self.git("rev-parse", commit):
                raise
        self.git("clean", "-q", "-fdx")
        files = {}
        for line in self.git("ls-tree", "-r", commit).decode(errors="replace").splitlines():
            about, path = line.split("\t", 1)
            if about.startswith("100") and family_of(path):
                files[path] = about.split()[2]
        self.files = files
        self.tags_read([path for path, oid in files.items() if (path, oid) not in self.cache])

    def tags_read(self, paths):
        if not paths:
            return
        found = {path: [] for path in paths}
        kinds = [f"--kinds-{language}=+{more}" for language, more in
                 (("C", "pzl"), ("C++", "pzl"), ("Python", "zl"), ("Java", "l"),
                  ("TypeScript", "zl"))]
        out = subprocess.run(["ctags", "--output-format=json", "--fields=+nKs", "-f", "-", *kinds,
                              "--langmap=C:.c.h", "-L", "-"], cwd=self.at, check=True,
                             input="\n".join(paths).encode(), stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL).stdout
        for line in out.decode(errors="replace").splitlines():
            tag = json.loads(line)
            if tag.get("_type") == "tag" and tag["path"] in found:
                inner = tag.get("scopeKind", "") in INNER
                found[tag["path"]].append((tag["name"], tag.get("kind", ""), tag["line"], inner))
        for path in paths:
            self.cache[(path, self.files[path])] = found[path]

    def write(self, path, text):
        """The file as it now is on disk, and what it defines."""
        (self.at / path).parent.mkdir(parents=True, exist_ok=True)
        (self.at / path).write_text(text, newline="")
        self.files[path] = hashlib.sha1(text.encode()).hexdigest()
        if (path, self.files[path]) not in self.cache:
            self.tags_read([path])

    def read(self, path):
        try:
            return (self.at / path).read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            return None

    def exports(self, path):
        key = ("exports", path, self.files[path])
        if key not in self.cache:
            self.cache[key] = exported_names(self.read(path) or "")
        return self.cache[key]

    def definitions(self, family):
        """name -> {path: [lines]} of what other files of the family could name, and the same of the
        members among them, which need no export of their own."""
        names, members = {}, {}
        wanted = set(WANTED[family].split())
        for path, oid in self.files.items():
            if family_of(path) != family:
                continue
            exports = self.exports(path) if family == "ts" else None
            for name, kind, line, inner in self.cache[(path, oid)]:
                if kind not in wanted or inner or (family == "ts" and name in RESERVED):
                    continue
                if family == "ts" and kind in MEMBERS:
                    members.setdefault(name, {}).setdefault(path, []).append(line)
                elif exports is None or name in exports:
                    names.setdefault(name, {}).setdefault(path, []).append(line)
        return names, members


def one_home(places):
    """One file, or a C header and the one file beside it that has the bodies."""
    if len(places) == 1:
        return True
    kinds = sorted(pathlib.PurePosixPath(path).suffix in (".h", ".hpp", ".hh") for path in places)
    return kinds == [False, True]


def edits_of(old, new):
    """[(line in old, n removed, [added lines])], from the top."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [(i, i2 - i, new[j:j2]) for tag, i, i2, j, j2 in matcher.get_opcodes() if tag != "equal"]


def file_places(tree, path, old, new, random_of, recent):
    """Every place of one file's edits that needs what stands elsewhere."""
    family = family_of(path)
    names, members = tree.definitions(family)
    imported = imported_names(new) if family == "ts" else None
    own = {tag[0] for tag in tree.cache.get((path, tree.files.get(path)), [])}
    own |= names_of_text(tree, path, new)  # what the commit is about to define here
    old_lines, done, at, places = old.splitlines(True), [], 0, []
    importing = import_lines(new.splitlines(True))
    for line, n_removed, added in edits_of(old_lines, new.splitlines(True)):
        done += old_lines[at:line]
        at = line + n_removed
        for row, text in enumerate(added):
            in_quotes = family == "python" and "".join(done).count('"""') % 2
            is_import = IMPORTING.match(text) or len(done) in importing
            code = "" if in_quotes or is_import else code_of(text.rstrip("\r\n"), family)
            for m in NAME.finditer(code):
                name = m.group(0)
                homes = homes_of(name, code[:m.start()].endswith("."), names, members, imported)
                homes = {p: lines for p, lines in homes.items() if p != path}
                if len(name) < 3 or name in own or name in tree.library or not homes or \
                        not one_home(homes):
                    continue
                starts = [t.start() for t in TOKEN.finditer(text) if t.start() <= m.start()]
                typed = "".join(done) + text[:random_of.choice(starts)]
                ahead = text[m.start():] + "".join(added[row + 1:row + 1 + AHEAD_LINES])
                places.append({"path": path, "name": name, "homes": homes, "family": family,
                               "content": typed + "\n" + "".join(old_lines[at:]),
                               "ahead": names_ahead(ahead, family),
                               "cursor": len(typed.encode()), "recent": list(recent)})
                break
            done.append(text)
    return places


def names_ahead(text, family):
    """What the next lines are made of: their names, whoever defines them."""
    code = "\n".join(code_of(line, family) for line in text.splitlines())
    return sorted({name for name in NAME.findall(code) if len(name) > 3 and name not in RESERVED})


def import_lines(lines):
    """Numbers of the lines that belong to an import of several lines."""
    inside, closer = set(), None
    for i, line in enumerate(lines):
        if closer:
            inside.add(i)
            closer = None if closer in line else closer
        elif IMPORTING.match(line) or re.match(r"\s*(import|export)\s*(type\s*)?\{", line):
            for opener, end in (("{", "}"), ("(", ")")):
                if line.count(opener) > line.count(end):
                    closer = end
    return inside


def homes_of(name, behind_dot, names, members, imported):
    """Where a name is defined that stands in code so."""
    if imported is None:
        return names.get(name, {})
    if not behind_dot:
        return names.get(name, {}) if name in imported else {}
    homes = {path: list(lines) for path, lines in members.get(name, {}).items()}
    for path, lines in names.get(name, {}).items():  # of a namespace, or of "import * as"
        homes.setdefault(path, []).extend(lines)
    return homes


def names_of_text(tree, path, text):
    """What the file will define when it reads so; afterwards it is as it was."""
    kept, disk = tree.files.get(path), tree.read(path)
    tree.write(path, text)
    names = {tag[0] for tag in tree.cache[(path, tree.files[path])]}
    if kept is None:
        (tree.at / path).unlink()
        del tree.files[path]
    else:
        (tree.at / path).write_text(disk or "", newline="")
        tree.files[path] = kept
    return names


def commit_files(tree, commit):
    """The source files of a commit that somebody typed, or nothing."""
    out = tree.git("diff-tree", "-r", "--no-renames", "--numstat", "-z", commit, "--")
    rows = [row.split("\t") for row in out.decode(errors="replace").split("\0")]
    rows = [row for row in rows if len(row) == 3 and row[0].isdigit()]
    if len(rows) > COMMIT_FILES_MAX or sum(int(row[0]) for row in rows) > COMMIT_LINES_MAX:
        return []
    return sorted(row[2] for row in rows if family_of(row[2]))


def opened_before(tree, parent, n=20):
    """Files that the last commits touched, newest first: what somebody has had open lately."""
    out = tree.git("log", "-n40", "--name-only", "--format=", parent, "--").decode(errors="replace")
    return list(dict.fromkeys(p for p in out.splitlines() if p in tree.files))[:n]


def replay(tree, commit, random_of):
    """The commit, file by file: ("begin", commit), then for each file ("file", path, old, new, places)
    while it is as it was, and ("written", path) when it is as the commit made it."""
    paths = commit_files(tree, commit)
    if not paths:
        return
    tree.checkout(commit + "^")
    opened, recent = opened_before(tree, commit + "^"), []
    yield ("begin", commit)
    for path in paths:
        old = tree.read(path) or ""
        try:
            new = tree.git("show", f"{commit}:{path}").decode()
        except (subprocess.CalledProcessError, UnicodeDecodeError):
            continue  # it goes, or is no text
        if len(new) > FILE_BYTES_MAX or "\0" in new + old:
            continue
        places = file_places(tree, path, old, new, random_of, recent)
        yield ("file", path, old, new, [dict(place, opened=opened) for place in places])
        for line, _, _ in edits_of(old.splitlines(True), new.splitlines(True)):
            recent.insert(0, [path, line + 1])
        opened = [path] + [p for p in opened if p != path]
        tree.write(path, new)
        yield ("written", path)


def commits_of(tree, random_of, n_last=3000):
    """The last commits that are no merges, in an order of the seed."""
    commits = tree.git("log", "--no-merges", "--min-parents=1", f"-n{n_last}", "--format=%H",
                       tree.head).decode().split()
    random_of.shuffle(commits)
    return commits
