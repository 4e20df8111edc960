#!/usr/bin/env python3
"""When a completion is too unsure to be shown unasked: `make bench-sure SOURCES="DIR ..."`.

Rests of lines are cut out of the files of checkouts, one a file, and asked for as the language server
asks. For each threshold of the mean log-probability of the first line (`sure_mean_min`,
lsp/assistant/run.c): how many answers would be shown, how many of those shown have the right first
line, and how many of the right ones are shown. Take projects that the model never saw."""

import argparse
import base64
import json
import os
import random
import shutil
import tempfile

import vocabulary
from evaluate import ANSWER_TOKENS, GRAMMARS, PROMPT_TOKENS, Engine, first_line, similarity
from gaps import Project, rolled_back

THRESHOLDS = (-9.0, -3.0, -2.5, -2.1, -1.8, -1.5, -1.2, -1.0, -0.8, -0.6, -0.4, -0.2)
FILE_BYTES = (400, 40000)


def rows_read(folder):
    rows = []
    for where, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "node_modules"]
        for name in names:
            path = os.path.join(where, name)
            if os.path.splitext(name)[1] not in GRAMMARS or os.path.islink(path):
                continue
            with open(path, encoding="utf-8", errors="ignore", newline="") as f:
                text = f.read(FILE_BYTES[1] + 1)
            if FILE_BYTES[0] <= len(text) <= FILE_BYTES[1]:
                rows.append({"path": os.path.relpath(path, folder), "text": text})
    return rows


def asked(engine, ids, rolled):
    """The first line, and the mean log-probability of the tokens up to its end."""
    body = {
        "prompt": ids,
        "max_tokens": ANSWER_TOKENS // 4,
        "temperature": 0,
        "logprobs": 0,
        "dbrx": {"must_start_with": base64.b64encode(rolled.encode()).decode()},
    }
    choice = engine.ask("POST", "/v1/completions", body)["choices"][0]
    said, of = "", []
    for token, logprob in zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"]):
        said += token
        of.append(logprob)
        if "\n" in said[len(rolled) :]:
            break
    return first_line(choice["text"][len(rolled) :]), sum(of) / max(1, len(of))


def answers(options, engine, encoder, folder):
    rng, found = random.Random(options.seed), []
    for source in options.sources:
        there = os.path.join(folder, os.path.basename(os.path.abspath(source)))
        rows = rows_read(source)
        rows = rng.sample(rows, min(len(rows), options.files))
        os.mkdir(there)
        project = Project(there, rows, options.program, options.model)
        gaps = project.gaps(options.places, rng, "line")
        for _, (before, gap, _, _), prompt, n in project.prompts(gaps, PROMPT_TOKENS):
            ids, rolled = encoder.encode_prompt(prompt), rolled_back(before, prompt)
            if len(ids) != n or rolled is None:
                continue
            said, mean = asked(engine, ids, rolled)
            right = gap.rstrip()
            found.append((mean, bool(said.strip()), said == right, similarity(said, right)))
        print(f"{source}: {len(found)} places", flush=True)
    return found


def table(found):
    shown_at_all = [one for one in found if one[1]]
    n_right = sum(one[2] for one in shown_at_all)
    print(f"{len(found)} places, {len(shown_at_all)} answers, {n_right} with the right first line")
    print("| mean at least | shown | right of those shown | over 0.8 alike | of the right ones shown |")
    print("|---|---|---|---|---|")
    for least in THRESHOLDS:
        shown = [one for one in shown_at_all if one[0] >= least]
        right = sum(one[2] for one in shown)
        near = sum(one[3] > 0.8 for one in shown)
        n = max(1, len(shown))
        print(
            f"| {least} | {100 * len(shown) / max(1, len(shown_at_all)):.0f} % "
            f"| {100 * right / n:.0f} % | {100 * near / n:.0f} % "
            f"| {100 * right / max(1, n_right):.0f} % |"
        )


def options_of(words):
    """What a measurement on projects of somebody else is asked to do."""
    parser = argparse.ArgumentParser(description=words.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="folders of projects the model never saw")
    parser.add_argument("--program", default="build/dbrx-ls")
    parser.add_argument("--model", default="build/model")
    parser.add_argument("--files", type=int, default=200, help="of each project")
    parser.add_argument("--places", type=int, default=60, help="of each project, one a file")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main():
    parser = options_of(__doc__)
    parser.add_argument("--answers", help="a file for the single answers, as JSON")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    options.model = os.path.abspath(options.model)
    folder = tempfile.mkdtemp(prefix="bench-sure-")
    engine = Engine(options.program, options.model, folder)
    try:
        encoder = vocabulary.Encoder(json_rows(options.model))
        found = answers(options, engine, encoder, folder)
    finally:
        engine.close()
        shutil.rmtree(folder)
    if options.answers:
        with open(options.answers, "w", encoding="utf-8") as f:
            json.dump(found, f)
    table(found)


def json_rows(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        return json.load(f)["vocab_size"]


if __name__ == "__main__":
    main()
