// Weights that are quantised while a model is loaded: the same logits as from a quantised directory,
// kept by --save for the next start, in bounded memory; and what is refused.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

let sandbox, source;
const at = (name) => path.join(sandbox.work, name);
before(() => {
    sandbox = new Sandbox();
    source = makeTinyModel(at('source'), { width: 128, flags: ['--ffn', 288] });
    for (const format of ['fp8', 'int8', 'int4'])
        run(program, ['quantize', source, at(format), '--format', format]);
});
after(() => sandbox.close());

function run(file, args, { status = 0 } = {}) {
    const r = spawnSync(file, args.map(String), { maxBuffer: 1 << 28 });
    assert.equal(r.status, status, `${file} ${args.join(' ')}: ${r.error ?? r.stderr}`);
    return { stdout: r.stdout, stderr: r.stderr.toString() };
}
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const digests = (directory) => Object.fromEntries(fs.readdirSync(directory).sort()
    .map((name) => [name, sha256(fs.readFileSync(path.join(directory, name)))]));
const logits = (...args) => sha256(run(program, ['logits', '--tokens', '3,1,4,1,5,9,2,6', ...args]).stdout);
const ask = { prompt: 'int main(', max_tokens: 6, temperature: 0, logprobs: 5, ignore_eos: true };

/** What a service with these arguments answers, and its log. */
async function answer(...args) {
    const service = new Service(sandbox, ['--threads', '2', ...args]);
    try {
        await service.ready();
        const { status, json } = await service.complete(ask);
        assert.equal(status, 200);
        return json.choices;
    } finally {
        service.child.kill('SIGTERM');
        await service.exited;
    }
}

/** A service that cannot load: its exit code and last words. */
async function failure(...args) {
    const service = new Service(sandbox, args);
    const { code } = await service.exited;
    return [code, service.stderr];
}

describe('weights quantised while loading', () => {
    for (const format of ['fp8', 'int8', 'int4'])
        test(`${format}: logits as from a quantised directory`, () => {
            const expected = logits('--model', at(format));
            for (const threads of [1, 3])
                assert.equal(logits('--model', source, '--weights', format, '--threads', threads), expected);
            assert.notEqual(logits('--model', source), expected);
            // of its own format already: nothing to do
            assert.equal(logits('--model', at(format), '--weights', format), expected);
        });

    test('chunks, stages and the last short group of large tensors', () => {
        // 1,048,576 values are a chunk: a stage ends in the middle of lm_head and of experts
        const large = at('large');
        run(path.join(build, 'tools/make_checkpoint'), ['--out', large, '--d-model', 1024, '--n-heads', 16,
            '--kv-n-heads', 2, '--ffn', 1056, '--experts', 3, '--top-k', 1, '--n-layers', 1,
            '--vocab', 5000, '--max-seq-len', 64, '--shards', 2]);
        run(program, ['quantize', large, at('large-int4'), '--format', 'int4']);
        assert.equal(logits('--model', large, '--weights', 'int4', '--threads', 1),
            logits('--model', at('large-int4')));
    });

    test('serve answers alike, writes nothing', async () => {
        const names = fs.readdirSync(sandbox.work);
        const expected = await answer('--model', at('int4'));
        assert.deepEqual(await answer('--model', source, '--weights', 'int4'), expected);
        assert.deepEqual(fs.readdirSync(sandbox.work), names);
    });

    test('--save writes what quantize writes, and is taken up at the next start', async () => {
        const saved = at('saved'), expected = await answer('--model', at('int8'));
        const args = ['--model', source, '--weights', 'int8', '--save', saved];
        assert.deepEqual(await answer(...args), expected);
        assert.deepEqual(digests(saved), digests(at('int8')));
        const { ino } = fs.statSync(path.join(saved, 'config.json'));
        assert.deepEqual(await answer(...args), expected);
        assert.equal(fs.statSync(path.join(saved, 'config.json')).ino, ino);
        // a calibrated copy of the same source will do as well
        const text = at('text');
        fs.writeFileSync(text, 'for (int i = 0; i < n; i++) sum += a[i];\n'.repeat(9));
        run(program, ['quantize', source, at('better'), '--format', 'int8', '--calibrate', text]);
        await answer(...args.slice(0, -1), at('better'));
    });

    test('--save after a kill goes on', async () => {
        const big = makeTinyModel(at('big'), { width: 512, layers: 3 }), saved = at('big-saved');
        const service = new Service(sandbox, ['--model', big, '--weights', 'int4', '--save', saved]);
        await eventually('the directory', () => fs.existsSync(`${saved}.partial`) || fs.existsSync(saved));
        service.child.kill('SIGKILL');
        await service.exited;
        await answer('--model', big, '--weights', 'int4', '--save', saved);
        run(program, ['quantize', big, at('big-int4'), '--format', 'int4']);
        assert.deepEqual(digests(saved), digests(at('big-int4')));
    });

    test('refused: another format, another source, --save alone', async () => {
        assert.match(run(program, ['logits', '--model', at('int8'), '--weights', 'int4', '--tokens', 1],
            { status: 2 }).stderr, /weights are int8 already, expected 16 bits or more, or int4/);
        let [code, words] = await failure('--model', at('int8'), '--weights', 'int4');
        assert.match(words, /weights are int8 already/);
        assert.notEqual(code, 0);
        const other = makeTinyModel(at('different'), { seed: 8, width: 128, flags: ['--ffn', 288] });
        [, words] = await failure('--model', other, '--weights', 'fp8', '--save', at('fp8'));
        assert.match(words, /fp8\/quantize.json: made with another "source"/);
        [, words] = await failure('--model', source, '--weights', 'int4', '--save', at('fp8'));
        assert.match(words, /made with another "weights"/);
        [code, words] = await failure('--model', source, '--save', at('x'));
        assert.equal(code, 2);
        assert.match(words, /--save needs --weights/);
        [code, words] = await failure('--model', source, '--weights', 'q4');
        assert.match(words, /--weights: found "q4", expected fp8, int8 or int4/);
    });
});

/** The largest RssAnon of a process until it ends, in bytes. */
async function anonymousPeak(args) {
    const child = spawn(program, args.map(String), { stdio: 'ignore' });
    const ended = new Promise((done) => { child.on('exit', done); });
    let peak = 0, code;
    ended.then((c) => { code = c; });
    while (code === undefined) {
        try {
            const status = fs.readFileSync(`/proc/${child.pid}/status`, 'utf8');
            peak = Math.max(peak, 1024 * Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0));
        } catch { /* it has just ended */ }
        await sleep(2);
    }
    assert.equal(code, 0);
    return peak;
}

// A sanitizer's own memory is no measure of ours.
const instrumented = 'ASAN_OPTIONS' in process.env || 'TSAN_OPTIONS' in process.env;

describe('memory', { skip: instrumented }, () => {
    let large;
    before(() => {
        // 201 MB of BF16, half of it experts; 53 MB as int4
        large = at('mid');
        run(path.join(build, 'tools/make_checkpoint'), ['--out', large, '--d-model', 1024, '--n-heads', 16,
            '--kv-n-heads', 4, '--ffn', 1024, '--experts', 8, '--top-k', 2, '--n-layers', 3,
            '--vocab', 8192, '--max-seq-len', 64]);
    });

    test('quantize: under 6 MiB a thread, and a few for the program', async () => {
        const peak = await anonymousPeak(['quantize', large, at('mid-int4'), '--format', 'int4', '--threads', 4]);
        assert.ok(peak > 1 << 20, `${peak}: measured nothing`);
        assert.ok(peak < (4 * 6 + 8) << 20, `${peak} bytes`);
    });

    test('loading: the quantised weights and bounded buffers, not twice', async () => {
        const weights = fs.readdirSync(at('mid-int4')).filter((name) => name.endsWith('.safetensors'))
            .reduce((sum, name) => sum + fs.statSync(path.join(at('mid-int4'), name)).size, 0);
        const peak = async (...args) => anonymousPeak(['logits', '--tokens', '1,2', '--threads', 2, ...args]);
        const mapped = await peak('--model', at('mid-int4'));
        const loaded = await peak('--model', large, '--weights', 'int4');
        // two threads: a stage of four chunks, and 6 MiB each
        assert.ok(loaded - mapped < weights + ((2 * 6 + 4 * 1.25 + 4) * (1 << 20)), `${loaded}, ${mapped}, ${weights}`);
    });
});
