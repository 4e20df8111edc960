// `dbrx-ls logits` against two other engines on random checkpoints of several shapes: llama.cpp's
// library on a GGUF of the same numbers, and a double-precision forward pass in Python. The bound is
// 1e-4 of the largest logit, in fp32.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';

const build = resolve(process.env.BUILD ?? 'build');
const libraries = join(build, 'npm/tests/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
const llama = join(build, 'tools/llama_logits');
const python = '/usr/bin/python3'; // Debian's own: the one that sees Debian's numpy
const bound = 1e-4;

const shapes = [
  { name: 'default shape, bf16', args: [], n: 100 },
  { name: '16 experts, 4 chosen, one KV head', n: 90,
    args: ['--experts', 16, '--top-k', 4, '--d-model', 128, '--n-heads', 8, '--kv-n-heads', 1,
      '--n-layers', 3, '--seed', 2] },
  { name: 'one expert of many, f32', n: 90,
    args: ['--experts', 8, '--top-k', 1, '--dtype', 'f32', '--seed', 3] },
  { name: 'every expert chosen, f16 in three shards', n: 60,
    args: ['--experts', 4, '--top-k', 4, '--dtype', 'f16', '--shards', 3, '--seed', 4] },
  { name: 'router logits a hundredth apart', n: 200,
    args: ['--experts', 16, '--top-k', 4, '--routes-spread', 0.01, '--seed', 5] },
  { name: 'heads of 128, no grouping', n: 60,
    args: ['--d-model', 256, '--n-heads', 2, '--kv-n-heads', 2, '--ffn', 160, '--seed', 6] },
  { name: 'heads of 64, groups of six', n: 60,
    args: ['--d-model', 384, '--n-heads', 6, '--kv-n-heads', 1, '--ffn', 288, '--n-layers', 1,
      '--seed', 7] },
  { name: '1,300 positions, another theta and clip', n: 1300,
    args: ['--rope-theta', 10000, '--clip', 4, '--vocab', 199, '--seed', 8] },
];

let directory;
before(() => { directory = mkdtempSync(join(tmpdir(), 'dbrx-ls-logits-')); });
after(() => { rmSync(directory, { recursive: true, force: true }); });

function run(program, args, input) {
  const r = spawnSync(program, args.map(String), { input, maxBuffer: 1 << 30 });
  assert.equal(r.status, 0, `${program}: ${r.error ?? r.stderr}`);
  return r.stdout;
}

function floats(bytes, type) {
  const copy = new Uint8Array(bytes); // its own buffer, hence aligned
  return new type(copy.buffer);
}

// Ids in an order that repeats no pattern; any generator will do.
function ids(n, vocabulary) {
  let state = 12345;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % vocabulary;
  });
}

function difference(found, expected) {
  assert.equal(found.length, expected.length);
  let apart = 0, largest = 0;
  for (let i = 0; i < found.length; i++) {
    assert.ok(Number.isFinite(found[i]));
    apart = Math.max(apart, Math.abs(found[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return apart / largest;
}

function ours(model, input, backend) {
  const args = ['logits', '--model', model, '--tokens', '-', '--json', '--backend', backend];
  return JSON.parse(run(join(build, 'dbrx-ls'), args, input)).logits.flat();
}

for (const { name, args, n } of shapes) {
  describe(`logits: ${name}`, () => {
    let model, input, cpu;
    before(() => {
      model = mkdtempSync(join(directory, 'model-'));
      run(join(build, 'tools/make_checkpoint'), ['--out', model, '--gguf', `${model}.gguf`, ...args]);
      const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
      input = ids(n, config.vocab_size).join(',');
      cpu = ours(model, input, 'cpu');
    });

    test('agree with a double-precision forward pass', () => {
      const expected = floats(
        run(python, [resolve('tests/oracle/dbrx_forward.py'), model], input), Float64Array);
      const apart = difference(cpu, expected);
      assert.ok(apart <= bound, `apart by ${apart} of the largest`);
      if (n <= 100) {
        const reference = difference(ours(model, input, 'reference'), expected);
        assert.ok(reference <= 1e-5, `the reference is apart by ${reference} of the largest`);
      }
    });

    test('agree with llama.cpp', { skip: !existsSync(llama) && 'no llama.cpp library' }, () => {
      const expected = floats(run(llama, [libraries, `${model}.gguf`], input), Float32Array);
      const apart = difference(cpu, expected);
      assert.ok(apart <= bound, `apart by ${apart} of the largest`);
    });

    test('the checkpoint clips between 10 and 30 percent of q, k and v', () => {
      const share = JSON.parse(
        run(python, [resolve('tests/oracle/dbrx_forward.py'), model, '--clipped'], input));
      assert.ok(share >= 0.1 && share <= 0.3, `${share}`);
    });
  });
}
