// `dbrx-ls compare` against two forward passes in double precision (tests/oracle/divergence.py), and
// what must hold whatever the numbers: nothing is apart from itself.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, program, repository } from './support/modules.js';
import { makeTinyModel } from './support/tiny_model.js';

const oracle = path.join(repository, 'tests/oracle/divergence.py');
const ids = Array.from({ length: 700 }, (_, i) => (i * 7919 + 13) % 511).join(',');

let root, source;
const at = (name) => path.join(root, name);
before(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'dbrx-ls-compare-'));
    source = checkpoint('source');
    for (const format of ['fp8', 'int8', 'int4'])
        run(program, ['quantize', source, at(format), '--format', format]);
});
after(() => fs.rmSync(root, { recursive: true, force: true }));

function run(file, args, { input, status = 0 } = {}) {
    // numpy's small products are slower on many threads, and very slow on a busy machine
    const env = { ...process.env, OPENBLAS_NUM_THREADS: '1' };
    const r = spawnSync(file, args.map(String), { input, env, encoding: 'utf8' });
    assert.equal(r.status, status, `${file} ${args.join(' ')}: ${r.error ?? r.stderr}`);
    return r;
}

function checkpoint(name, ...args) {
    run(path.join(build, 'tools/make_checkpoint'), ['--out', at(name), '--d-model', 128,
        '--n-heads', 4, '--kv-n-heads', 2, '--n-layers', 2, '--ffn', 288, '--experts', 4,
        '--top-k', 2, '--vocab', 511, '--max-seq-len', 512, '--seed', 7, ...args]);
    return at(name);
}

const compare = (...args) => JSON.parse(run(program,
    ['compare', ...args, '--json', '--ids', '-', '--threads', 1], { input: ids }).stdout);
const refused = (...args) => run(program, ['compare', ...args], { input: ids, status: 2 }).stderr;

/** Relative; divergences near 0 carry the rounding of fp32 logits. */
function close(found, expected, bound, what) {
    assert.ok(Math.abs(found - expected) <= bound * Math.max(Math.abs(expected), 1e-3),
        `${what}: ${found}, expected ${expected}`);
}

describe('compare', () => {
    // 300 tokens are two slices; 700 are two windows and a rest.
    for (const [format, window] of [['fp8', 300], ['int8', 512], ['int4', 300]])
        test(`${format} against a forward pass in double`, () => {
            const expected = JSON.parse(run('/usr/bin/python3', [oracle, source, at(format), window],
                { input: ids }).stdout);
            const found = compare(source, at(format), '--window', window, '--kv', 'f32',
                '--activations', 'f32');
            assert.equal(found.tokens, 700);
            assert.equal(found.windows, Math.ceil(700 / window));
            for (const routes of ['routes_of_source', 'own_routes']) {
                for (const key of ['mean', 'p99', 'max'])
                    close(found[routes][key], expected[routes][key], 1e-3, `${routes} ${key}`);
                close(found[routes].same_first, expected[routes].same_first, 0.003, routes);
            }
            for (const key of ['same_experts', 'same_order'])
                close(found.routes[key], expected[key], 0.002, key);
            for (const key of ['source_loss', 'candidate_loss'])
                close(found[key], expected[key], 1e-5, key);
        });

    test('the same through the reference backend, and for any number of threads', () => {
        const args = [source, at('int4'), '--window', 90, '--tokens', 200, '--kv', 'f32',
            '--activations', 'f32'];
        const cpu = compare(...args), reference = compare(...args, '--backend', 'reference');
        close(cpu.own_routes.mean, reference.own_routes.mean, 1e-3, 'mean');
        close(cpu.routes_of_source.p99, reference.routes_of_source.p99, 1e-3, 'p99');
        assert.deepEqual(JSON.parse(run(program, ['compare', ...args, '--json', '--ids', '-',
            '--threads', 3], { input: ids }).stdout), cpu);
    });

    test('weights quantised while loading are those of a quantised directory', () => {
        const args = ['--window', 100, '--tokens', 150];
        assert.deepEqual(compare(source, '--weights', 'int4', ...args), compare(source, at('int4'), ...args));
    });

    test('a model is not apart from itself', () => {
        const found = compare(source, '--kv', 'bf16');
        assert.deepEqual([found.own_routes, found.routes_of_source], Array(2).fill(
            { mean: 0, p99: 0, max: 0, same_first: 1 }));
        assert.equal(found.routes.same_order, 1);
        assert.equal(found.source_loss, found.candidate_loss);
    });

    test('8-bit KV against bf16, by length of the context', () => {
        const long = checkpoint('long', '--max-seq-len', 2048, '--vocab', 511);
        const many = Array.from({ length: 1500 }, (_, i) => (i * 7919 + 13) % 511).join(',');
        const found = JSON.parse(run(program, ['compare', long, '--candidate-kv', 'e4m3', '--window',
            1400, '--json', '--ids', '-'], { input: many }).stdout);
        assert.deepEqual(found.spans.map((s) => [s.context_from, s.context_to, s.tokens]),
            [[1, 256, 356], [257, 1024, 768], [1025, 1400, 376]]);
        const sum = found.spans.reduce((all, s) => all + s.tokens * s.own_routes.mean, 0);
        close(sum / 1500, found.own_routes.mean, 1e-6, 'mean of the spans');
        assert.ok(found.own_routes.mean > 0);
        assert.ok(found.routes_of_source.mean <= found.own_routes.mean);
    });

    test('a text by the tokenizer of the model; a table for people, progress on stderr', () => {
        const model = makeTinyModel(at('tiny')), text = at('text');
        fs.writeFileSync(text, 'int main(void) { return 0; }\n'.repeat(20));
        const { stdout, stderr } = run(program, ['compare', model, '--candidate-kv', 'e4m3', '--text', text,
            '--tokens', 100]);
        assert.match(stdout, /^100 tokens in 1 window\n/);
        assert.match(stdout, /its own routes +[0-9.e-]+ +[0-9.e-]+ +[0-9.e-]+ +[0-9.]+ %/);
        assert.match(stdout, /context 1 to 100/);
        assert.match(stderr, /100 % .* tokens\/s/);
    });

    test('wrong use and models that do not match, by field', () => {
        const other = checkpoint('other', '--vocab', 512);
        assert.match(refused(source, '--ids', '1', '--text', 'x'), /expected --text FILE or --ids/);
        assert.match(refused('--ids', '1'), /found 0 directories/);
        assert.match(refused(source, '--ids', '511'), /token 0 is 511, expected 0 to 510/);
        assert.match(refused(source, '--ids', ''), /no tokens/);
        assert.match(refused(source, '--ids', '1', '--window', 513), /expected 1 to max_seq_len 512/);
        assert.match(refused(source, '--ids', '1', '--kv', 'q8'), /--kv: found "q8"/);
        assert.match(refused(source, other, '--ids', '1'), /vocab_size: the candidate has 512, the source 511/);
        assert.match(run(program, ['compare', source, '--ids', '1', '--activations', 'q'],
            { status: 1 }).stderr, /source: .*"q"/);
    });

    test('a NaN is an error, not a divergence', () => {
        const bad = checkpoint('bad'), file = path.join(bad, 'model.safetensors');
        const bytes = fs.readFileSync(file);
        bytes.writeUInt16LE(0x7fc0, bytes.length - 2);
        fs.writeFileSync(file, bytes);
        const { stderr } = run(program, ['compare', source, bad, '--ids', '1,2'], { status: 1 });
        assert.match(stderr, /candidate: a logit behind token 0 is not a finite number/);
    });

    test('interrupted, it leaves nothing and ends at once', async () => {
        const slow = spawn(program, ['compare', source, at('int4'), '--ids', '-', '--backend', 'reference'],
            { stdio: ['pipe', 'ignore', 'ignore'] });
        slow.stdin.end(ids);
        await new Promise((done) => { setTimeout(done, 100); });
        slow.kill('SIGINT');
        const signal = await new Promise((done) => { slow.on('exit', (_, s) => done(s)); });
        assert.equal(signal, 'SIGINT');
    });
});
