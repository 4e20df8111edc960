// The embedded model as it ships: llama.cpp's library reads the same weights as GGUF and says the same
// tokens and logits; the program takes it when nothing is configured, and its answers end.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';

const build = resolve(process.env.BUILD ?? 'build');
const program = join(build, 'dbrx-ls');
const libraries = join(build, 'npm/tests/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
const llama = join(build, 'tools/llama_logits');
const python = '/usr/bin/python3'; // Debian's own: the one that sees Debian's numpy
const model = resolve('inference/nano/model');
const texts = ['base/utf.c', 'inference/nano/train.py', 'tests/node/nano.test.js', 'editors/neovim/lua/dbrx/report.lua'];

let directory;
before(() => { directory = mkdtempSync(join(tmpdir(), 'dbrx-ls-nano-')); });
after(() => { rmSync(directory, { recursive: true, force: true }); });

function run(command, args, input) {
  const r = spawnSync(command, args, { input, maxBuffer: 1 << 30 });
  assert.equal(r.status, 0, `${command} ${args.join(' ')}: ${r.error ?? r.stderr}`);
  return r.stdout;
}

const idsOf = (text) => JSON.parse(run(program, ['tokenize', '--json', '--model', model], text));

test('the repository carries at most 40 MB of it, and says what it is', () => {
  const bytes = readdirSync(model).reduce((n, name) => n + statSync(join(model, name)).size, 0);
  assert.ok(bytes < 40e6, `${bytes} bytes`);
  assert.equal(JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).dbrx_ls.demo, true);
});

describe('beside llama.cpp', { skip: !existsSync(llama) && 'llama.cpp is not installed' }, () => {
  let gguf;
  before(() => {
    gguf = join(directory, 'nano.gguf');
    run(python, ['inference/nano/gguf.py', model, gguf]);
  });

  test('the same tokens', () => {
    for (const name of texts) {
      const text = readFileSync(name);
      const theirs = run(llama, [libraries, gguf, '--tokenize'], text).toString().trim().split('\n').map(Number);
      assert.deepEqual(idsOf(text), theirs, name);
    }
  });

  test('the same logits within 1e-4 of the largest', () => {
    const ids = idsOf(readFileSync(texts[0])).slice(0, 700);
    const raw = run(llama, [libraries, gguf], ids.join(' '));
    const theirs = new Float32Array(new Uint8Array(raw).buffer);
    const ours = JSON.parse(run(program, ['logits', '--json', '--model', model, '--tokens', '-'], ids.join(','))).logits.flat();
    assert.equal(ours.length, theirs.length);
    let apart = 0, largest = 0;
    for (let i = 0; i < ours.length; i++) {
      apart = Math.max(apart, Math.abs(ours[i] - theirs[i]));
      largest = Math.max(largest, Math.abs(theirs[i]));
    }
    assert.ok(largest > 1 && apart < 1e-4 * largest, `${apart} of ${largest}`);
  });
});

test('it has learnt: a text of this repository costs it under half of what knowing nothing would', () => {
  const ids = idsOf(readFileSync(texts[0])).slice(0, 700);
  const rows = JSON.parse(run(program, ['logits', '--json', '--model', model, '--tokens', '-'], ids.join(','))).logits;
  let nats = 0;
  for (let i = 0; i + 1 < ids.length; i++) {
    const largest = Math.max(...rows[i]);
    const sum = rows[i].reduce((s, x) => s + Math.exp(x - largest), 0);
    nats += largest + Math.log(sum) - rows[i][ids[i + 1]];
  }
  assert.ok(nats / (ids.length - 1) < 0.5 * Math.log(rows[0].length), `${nats / (ids.length - 1)} nats a token`);
});
