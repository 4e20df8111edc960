#!/usr/bin/env python3
"""Where an answer of several lines stops, with the line below as judge and without:
`make bench-stops SOURCES="DIR ..."`.

One to six lines are cut out of files of checkouts, one place a file, and `dbrx-ls complete --many`
fills them in as an editor would have it; once with an engine that scores the line below behind each
end of the answer (lsp/assistant/fit.c), once with one that does not say it can. Take projects that the
model never saw."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading

from evaluate import Engine, Tally, item_text, parses, similarity
from gaps import Project
from sure import options_of, rows_read

FEATURE, HIDDEN = b'"score_behind"', b'"------------"'


class Relay:
    """Another socket of the same engine, whose handshake does not name the feature."""

    def __init__(self, engine, path):
        self.engine, self.path = engine, path
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client = self.server.accept()[0]
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self.engine)
            threading.Thread(target=copy, args=(client, engine), daemon=True).start()
            threading.Thread(target=copy, args=(engine, client), daemon=True).start()


def copy(source, sink):
    try:
        while part := source.recv(1 << 16):
            sink.sendall(part.replace(FEATURE, HIDDEN))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def shown(project, path, one, endpoint):
    """What an editor would be shown, asked for by key; None: nothing."""
    before, _, after, _ = one
    project.put(path, before + after)
    place = f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    done = subprocess.run(
        [project.program, "complete", place, "--json", "--many", "--endpoint", "unix:" + endpoint],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env=dict(os.environ, XDG_CACHE_HOME=project.folder + ".cache"),
    )
    project.put(path, project.texts[path])
    text = item_text(done.stdout, before)
    return text and text.rstrip()


def tally_add(tally, path, one, text):
    before, gap, after, _ = one
    right = gap.rstrip()
    tally.add(
        exact=float(text == right),
        similarity=similarity(text, right),
        lines_off=float(abs(text.count("\n") - right.count("\n"))),
        no_new_fault=parses(path, before, text, after, before + gap + after),
    )


def measure(options, folder, endpoints):
    rng = random.Random(options.seed)
    tallies = {f"{title}, {of}": Tally() for title in endpoints for of in ("all", "changed")}
    for source in options.sources:
        there = os.path.join(folder, os.path.basename(os.path.abspath(source)))
        rows = rows_read(source)
        os.mkdir(there)
        project = Project(
            there, rng.sample(rows, min(len(rows), options.files)), options.program, options.model
        )
        for path, one in project.gaps(options.places, rng, "lines").items():
            texts = {title: shown(project, path, one, at) for title, at in endpoints.items()}
            if None in texts.values() or not any("\n" in text for text in texts.values()):
                continue
            for title, text in texts.items():
                tally_add(tallies[title + ", all"], path, one, text)
                if len(set(texts.values())) > 1:
                    tally_add(tallies[title + ", changed"], path, one, text)
        print(source, flush=True)
    return tallies


def table(tallies):
    print("| answers of several lines | exact | similarity | lines off | no new fault | places |")
    print("|---|---|---|---|---|---|")
    for title, tally in tallies.items():
        if tally.counts:
            r = tally.report()
            print(
                f"| {title} | {100 * r['exact']:.1f} % | {r['similarity']:.3f} "
                f"| {r['lines_off']:.2f} | {100 * r['no_new_fault']:.1f} % | {r['n']} |"
            )


def main():
    parser = options_of(__doc__)
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    options.model = os.path.abspath(options.model)
    folder = tempfile.mkdtemp(prefix="bench-stops-")
    engine = Engine(options.program, options.model, folder)
    try:
        relay = Relay(engine.path, os.path.join(folder, "relay"))
        endpoints = {"without": relay.path, "the line below decides": engine.path}
        tallies = measure(options, folder, endpoints)
    finally:
        engine.close()
        shutil.rmtree(folder)
    table(tallies)


if __name__ == "__main__":
    main()
