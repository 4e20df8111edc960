// `dbrx-ls prompt` as scripts see it: shape, errors, and what a second prompt shares with the first.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";

const program = resolve(process.env.BUILD ?? "build", "dbrx-ls");
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "dbrx-prompt-"));
  writeFileSync(join(folder, "a.c"), "int add(int a, int b)\n{\n    return a + b;\n}\n");
  writeFileSync(join(folder, "é:1.py"), 'x = "漢字"\n');
});
after(() => rmSync(folder, { recursive: true, force: true }));

function run(args, input = "") {
  const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder };
  const result = spawnSync(program, ["prompt", ...args], { cwd: folder, input, env });
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
