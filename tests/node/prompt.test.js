// `dbrx-ls prompt` as scripts see it: shape, errors, and what a second prompt shares with the first.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";

const program = resolve(process.env.BUILD ?? "build", "dbrx-ls");
const require = createRequire(import.meta.url);
const { Tiktoken } = require("tiktoken");
const cl100k = require("tiktoken/encoders/cl100k_base.json");
const turns = { "<|im_start|>": 100277, "<|im_end|>": 100278 };
const reference = new Tiktoken(cl100k.bpe_ranks, turns, cl100k.pat_str);
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "dbrx-prompt-"));
  writeFileSync(join(folder, "a.c"), "int add(int a, int b)\n{\n    return a + b;\n}\n");
  writeFileSync(join(folder, "é:1.py"), 'x = "漢字"\n');
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
  reference.free();
});

function run(args, input = "", cwd = folder) {
  const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder };
  const result = spawnSync(program, ["prompt", ...args], { cwd, input, env, maxBuffer: 1 << 28 });
  return { code: result.status, out: result.stdout.toString(), err: result.stderr.toString() };
}

test("one place as JSON", () => {
  const { code, out } = run(["a.c:3:16", "--json"]);
  assert.equal(code, 0);
  const prompt = JSON.parse(out);
  assert.deepEqual(Object.keys(prompt).sort(), ["blocks", "ms", "text", "tokens", "tokens_reused"]);
  const kinds = prompt.blocks.map((block) => block.kind);
  assert.deepEqual(kinds, [
    ...["system", "example", "example", "example"],
    ...["task", "suffix", "prefix", "behind", "tail"],
  ]);
  for (const block of prompt.blocks)
    assert.deepEqual(Object.keys(block).sort(), [
      ...["age", "cached", "kind", "path", "reason", "score", "tokens"],
    ]);
  assert.equal(
    prompt.blocks.reduce((sum, block) => sum + block.tokens, 0),
    prompt.tokens,
  );
  assert.ok(prompt.text.startsWith("<|im_start|>system\n"));
  assert.ok(prompt.text.includes("Right behind the gap:\n```c\nb;\n```\n"));
  assert.ok(prompt.text.includes("<|im_end|>\n<|im_start|>assistant\n```c\n{\n    return"));
});

test("columns are characters, and a path may hold colons", () => {
  const { code, out } = run(["é:1.py:1:8", "--json"]);
  assert.equal(code, 0);
  assert.ok(JSON.parse(out).text.includes('Right behind the gap:\n```python\n"\n```'));
});

test("a table for people", () => {
  const { code, out } = run(["a.c:3:5"]);
  assert.equal(code, 0);
  assert.match(out, /^block +tokens cached score +age +reason\n/);
  assert.match(out, /\ntail +\d+ no +1\.00 +0 +the lines up to the gap \(a\.c\)\n/);
});

test("while another process makes the index, what there is of it is used, and said", async () => {
  const at = mkdtempSync(join(tmpdir(), "dbrx-prompt-busy-"));
  writeFileSync(join(at, "shape.h"), "struct shape { int corners; };\nint shape_area(struct shape s);\n");
  writeFileSync(join(at, "use.c"), '#include "shape.h"\n\nint main(void)\n{\n    return shape_area(\n}\n');
  const place = [`${join(at, "use.c")}:5:23`, "--json"];
  const whole = run(place);
  assert.equal(whole.err, "");
  assert.match(whole.out, /int shape_area\(struct shape s\)/);
  const index = join(folder, ".cache/dbrx-ls/index");
  const name = readdirSync(index).find((file) => file.endsWith(".db") && rootOf(join(index, file)) === at);
  const lock = join(index, name.replace(/db$/, "lock"));
  const other = spawn("flock", [lock, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "ignore"] });
  await once(other.stdout, "data");
  const writer = new DatabaseSync(join(index, name));
  writer.exec("BEGIN IMMEDIATE");
  const { code, out, err } = run(place);
  writer.exec("ROLLBACK");
  writer.close();
  other.stdin.end();
  await once(other, "exit");
  rmSync(at, { recursive: true });
  assert.equal(code, 0);
  assert.equal(err, "dbrx-ls prompt: the index is still being made: what there is of it is used\n");
  assert.equal(JSON.parse(out).text, JSON.parse(whole.out).text);
});

function rootOf(file) {
  const database = new DatabaseSync(file, { readOnly: true });
  const [{ root }] = database.prepare("SELECT CAST(root AS TEXT) AS root FROM trees").all();
  database.close();
  return root;
}

test("a batch shares one session per file", () => {
  const { code, out } = run(["--batch"], "a.c:3:5\na.c:3:6\na.c:1:1\n");
  assert.equal(code, 0);
  const rows = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(rows.length, 3);
  assert.equal(rows[0].tokens_reused, 0);
  assert.ok(rows[1].tokens_reused > rows[1].tokens - 32);
  assert.ok(rows[1].blocks[0].cached && rows[1].blocks[0].age === 1);
});

test("the prompt of a task names the piece, and ends where the answer begins", () => {
  const { code, out } = run(["--task", "document", "a.c:3", "--json"]);
  assert.equal(code, 0);
  const { prompts } = JSON.parse(out);
  assert.equal(prompts.length, 1);
  const [{ text, must_start_with, tokens }] = prompts;
  assert.ok(tokens > 100);
  assert.match(text, /The piece, lines 1 to 4:\n```c\nint add\(int a, int b\)\n\{\n/);
  assert.match(text, /Task: Document the piece/);
  assert.ok((text + must_start_with).endsWith("<|im_start|>assistant\n```c\n"));
});

test("instructions stand in the prompt; a batch goes on behind a bad place", () => {
  const { code, out } = run(
    ["--task", "rewrite", "--details", "use unsigned numbers", "--batch"],
    "a.c:3\nmissing.c:1\na.c:1-4\n",
  );
  assert.equal(code, 1);
  const rows = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.match(rows[0].prompts[0].text, /as its owner says:\nuse unsigned numbers\n/);
  assert.match(rows[1].error, /missing\.c/);
  assert.match(rows[2].prompts[0].text, /The piece, lines 1 to 4:/);
});

test("the prompt of a commit message: what is staged, and its parts when it is large", () => {
  const git = (...words) =>
    assert.equal(spawnSync("git", words, { cwd: staged, env: gitEnvironment }).status, 0);
  const staged = mkdtempSync(join(folder, "staged-"));
  const gitEnvironment = { PATH: process.env.PATH, HOME: folder };
  git("init", "-q", "-b", "work", ".");
  assert.match(run(["--task", "commit-message", staged]).err, /nothing is staged/);
  writeFileSync(join(staged, "small.c"), "int small;\n");
  git("add", "small.c");
  const small = run(["--task", "commit-message", staged]);
  assert.equal(small.code, 0);
  assert.match(small.out, /Branch: work\n[^]*A small\.c \+1 -0\n[^]*\n\+int small;\n/);
  assert.match(small.out, /<\|im_start\|>assistant\n\n\[\d+ tokens\]\n$/);
  writeFileSync(
    join(staged, "large.c"),
    Array.from({ length: 900 }, (_, i) => `int number_${i};\n`).join(""),
  );
  git("add", "large.c");
  const large = JSON.parse(
    run(["--task", "commit-message", staged, "--json", "--budget", "1536"]).out,
  );
  assert.match(large.prompts[0].text, /Part 1 of \d of a staged change/);
  assert.equal(large.prompts.at(-1).text.match(/What was said of part/g).length,
    large.prompts.length - 1);
  assert.match(large.omitted, /large\.c: its change is cut/);
  for (const prompt of large.prompts) assert.ok(prompt.tokens <= 1536);
});

// This program's own sources as a repository with an index, a map and something staged.
function repositoryMake() {
  const at = mkdtempSync(join(folder, "sources-"));
  const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder };
  const must = (program, ...words) => {
    const { status, stderr } = spawnSync(program, words, { cwd: at, env });
    assert.equal(status, 0, stderr.toString());
  };
  for (const part of ["base", "context"]) {
    // Files that spell control tokens out are left out: in the text of a prompt nobody can tell them.
    const spells = (path) => statSync(path).isFile() && readFileSync(path).includes("<|im_");
    const filter = (path) => !path.includes("grammars") && !spells(path);
    cpSync(part, join(at, part), { recursive: true, filter });
  }
  writeFileSync(join(at, "long.js"), `const data = "${"é + b2; ".repeat(9000)}";\nlet x = data\n`);
  must("git", "init", "-q", ".");
  must("git", "add", "base", "context/tags.h", "context/syntax.h");
  must("git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "Begin.");
  must("git", "add", ".");
  must(program, "index", at);
  return at;
}

test("no prompt has more tokens than its budget, as tiktoken counts them in the whole text", () => {
  const at = repositoryMake();
  const files = ["context/index.c", "base/utf.c", "context/README.md", "context/tags.h", "long.js"];
  const lines = files.map((name) => readFileSync(join(at, name), "utf8").split("\n"));
  const kinds = new Set();
  const check = (said, budget, words) => {
    const counted = reference.encode(said.text, "all").length;
    assert.ok(counted <= budget, `${words}: ${counted} of ${budget}`);
    assert.equal(said.tokens, counted, words);
    assert.equal((said.blocks ?? [said]).reduce((sum, b) => sum + b.tokens, 0), counted, words);
    for (const { kind } of said.blocks ?? []) kinds.add(kind);
  };
  const rows = (result) => result.out.trim().split("\n").map((line) => JSON.parse(line));
  const smallest = 460; // the fixed parts, this path, and 64 tokens of the file
  for (const budget of [smallest, 777, 2048, 4096, 8192, 16384, 32768]) {
    const places = files.flatMap((name, i) =>
      [1, 0.37, 0.7].map((share) => {
        const line = Math.max(1, Math.floor(lines[i].length * share) - 1);
        return `${name}:${line}:${Math.max(1, lines[i][line - 1].length >> 1)}`;
      }));
    const shown = rows(run(["--batch", "--budget", `${budget}`], places.join("\n"), at));
    assert.equal(shown.length, places.length);
    shown.forEach((said, i) => check(said, budget, `${places[i]} ${JSON.stringify(said.error)}`));
  }
  for (const kind of ["map", "excerpt", "suffix", "prefix", "behind", "tail"])
    assert.ok(kinds.has(kind), kind);
  const from = 1 + lines[1].findIndex((line) => line.startsWith("uint32_t utf8_decode"));
  const tasks = ["fix", "explain", "simplify", "extract", "rename", "rewrite"];
  for (const task of [...tasks, "document", "tests"])
    for (const budget of [1500, 32768]) {
      const places = [`base/utf.c:${from + 3}-${from + 5}`];
      const details = ["--details", "error: é is not a name\n".repeat(20)];
      const args = ["--task", task, ...details, "--batch", "--budget", `${budget}`];
      const shown = rows(run(args, places.join("\n"), at)).flatMap((row) => row.prompts ?? []);
      for (const said of shown) check(said, budget, `${task} ${budget}`);
      assert.ok(shown.length > 0, task);
    }
  for (const budget of [1536, 4096, 32768]) {
    const args = ["--task", "commit-message", at, "--json", "--budget", `${budget}`];
    for (const said of JSON.parse(run(args, "", at).out).prompts) check(said, budget, "commit");
  }
});

test("wrong use and bad input: one line that says what was expected", () => {
  for (const [args, code, message] of [
    [["a.c"], 2, /FILE:LINE:COL/],
    [["--task", "dance", "a.c:1"], 2, /expected one of fix, explain, .*commit-message/],
    [["--task", "explain"], 2, /FILE:START-END/],
    [["--task", "explain", "a.c"], 2, /a\.c/],
    [["a.c:0:1"], 2, /FILE:LINE:COL/],
    [[], 2, /FILE:LINE:COL/],
    [["a.c:1:1", "--budget", "0"], 2, /--budget/],
    [["missing.c:1:1"], 1, /missing\.c/],
    [[".env:1:1"], 1, /\.env never reaches a model/],
    [["a.c:1:1", "--budget", "100"], 1, /budget of 100 tokens/],
    [["a.c:1:1", "--model", "nowhere"], 1, /nowhere/],
  ]) {
    const result = run(args);
    assert.equal(result.code, code, args.join(" "));
    assert.match(result.err, message);
    assert.equal(result.err.trim().split("\n").length, 1);
  }
});

test("a bad line of a batch is reported in its place", () => {
  const { code, out } = run(["--batch"], "a.c:1:1\nnonsense\na.c:2:1\n");
  assert.equal(code, 1 + 1);
  const rows = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(rows.length, 3);
  assert.match(rows[1].error, /FILE:LINE:COL/);
});
