// `dbrx-ls quantize` against an implementation in Python that shares no code with it: every byte of
// every format, and the engine's logits on the result against a double-precision forward pass on the
// widened weights. Then what must never go wrong: kills, two writers, full disks, bad values, and
// quantised checkpoints that are not what they say.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, program, repository } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const python = '/usr/bin/python3'; // Debian's own: the one that sees Debian's numpy
const oracle = path.join(repository, 'tests/oracle/quantized.py');
const formats = ['fp8', 'int8', 'int4'];
// The weights are the same numbers on both sides, so only fp32 sums differ.
const bound = 1e-4;

let root;
before(() => { root = fs.mkdtempSync(path.join(os.tmpdir(), 'dbrx-ls-quantize-')); });
after(() => fs.rmSync(root, { recursive: true, force: true }));

function run(file, args, { input, status = 0 } = {}) {
    // numpy's small products are slower on many threads, and very slow on a busy machine
    const env = { ...process.env, OPENBLAS_NUM_THREADS: '1' };
    const r = spawnSync(file, args.map(String), { input, env, maxBuffer: 1 << 28 });
    assert.equal(r.status, status, `${file} ${args.join(' ')}: ${r.error ?? r.stderr}`);
    return { stdout: r.stdout, stderr: r.stderr.toString() };
}

const quantize = (...args) => run(program, ['quantize', ...args]);
const refused = (status, ...args) => run(program, ['quantize', ...args], { status }).stderr;
const at = (...names) => path.join(root, ...names);

function checkpoint(name, ...args) {
    run(path.join(build, 'tools/make_checkpoint'), ['--out', at(name), '--d-model', 128,
        '--n-heads', 4, '--kv-n-heads', 2, '--n-layers', 2, '--ffn', 288, '--experts', 4,
        '--top-k', 2, '--vocab', 511, '--max-seq-len', 512, '--seed', 7, ...args]);
    return at(name);
}

/** name -> sha256 of every file of a directory. */
function digests(directory) {
    return Object.fromEntries(fs.readdirSync(directory).sort().map((name) => [name,
        createHash('sha256').update(fs.readFileSync(path.join(directory, name))).digest('hex')]));
}

function distance(found, expected) {
    let apart = 0, largest = 0;
    assert.equal(found.length, expected.length);
    for (let i = 0; i < found.length; i++) {
        apart = Math.max(apart, Math.abs(found[i] - expected[i]));
        largest = Math.max(largest, Math.abs(expected[i]));
    }
    return apart / largest;
}

const ids = Array.from({ length: 40 }, (_, i) => (i * 7919 + 13) % 511).join(',');

function logits(model, backend) {
    const { stdout } = run(program, ['logits', '--model', model, '--tokens', ids, '--json',
        '--backend', backend, '--threads', 1]);
    return JSON.parse(stdout).logits.flat();
}

function logitsExpected(model) {
    const { stdout } = run(python, [oracle, 'logits', model], { input: ids });
    return new Float64Array(new Uint8Array(stdout).buffer);
}

describe('formats', () => {
    let source;
    before(() => { source = checkpoint('formats'); });

    for (const format of formats) {
        test(`${format}: bytes, logits, errors, config`, () => {
            const to = at(`formats-${format}`);
            const { stdout } = quantize(source, to, '--format', format, '--json', '--shard-mib', 1);
            run(python, [oracle, 'check', source, to]);
            const expected = logitsExpected(to);
            assert.ok(distance(logits(to, 'cpu'), expected) <= bound);
            assert.ok(distance(logits(to, 'reference'), expected) <= 1e-5);

            const summary = JSON.parse(stdout);
            const errors = JSON.parse(run(python, [oracle, 'errors', source, to]).stdout);
            assert.equal(summary.tensors.length, 19);
            for (const t of summary.tensors) {
                const [largest, relative] = errors[t.name];
                assert.ok(Math.abs(t.error_max - largest) <= 1e-6 * largest, t.name);
                assert.ok(Math.abs(t.error_relative - relative) <= 1e-6 * relative, t.name);
                assert.equal(t.format === 'copied', largest === 0, t.name);
            }
            const sizes = fs.readdirSync(to).filter((name) => name.endsWith('.safetensors'))
                .map((name) => fs.statSync(path.join(to, name)).size);
            assert.equal(sizes.length, summary.shards);
            assert.ok(sizes.every((size) => size <= (1 << 20) + 4096));
            const config = JSON.parse(fs.readFileSync(path.join(to, 'config.json'), 'utf8'));
            assert.deepEqual(config.dbrx_ls, { weights: format, activations: 'bf16',
                ...(format === 'int4' ? { group_size: 128 } : {}) });
        });
    }

    test('sources in F32 and F16, chunks of tensors, a large inner dimension', () => {
        const shapes = {
            f32: ['--dtype', 'f32'], f16: ['--dtype', 'f16', '--shards', 3],
            // 1,048,576 values are a chunk: lm_head and every expert have two
            large: ['--d-model', 1024, '--n-heads', 16, '--ffn', 1056, '--experts', 2, '--n-layers', 1, '--vocab', 1500],
        };
        for (const [name, args] of Object.entries(shapes)) {
            const from = checkpoint(name, ...args), to = at(`${name}-int4`);
            quantize(from, to, '--format', 'int4', '--threads', 2);
            run(python, [oracle, 'check', from, to]);
            if (name !== 'large') assert.ok(distance(logits(to, 'cpu'), logitsExpected(to)) <= bound);
        }
    });

    test('--activations is written; the object that is there is kept', () => {
        const from = checkpoint('demo', '--demo'), to = at('demo-fp8');
        quantize(from, to, '--format=fp8', '--activations', 'e4m3');
        const config = JSON.parse(fs.readFileSync(path.join(to, 'config.json'), 'utf8'));
        assert.deepEqual(config.dbrx_ls, { demo: true, weights: 'fp8', activations: 'e4m3' });
    });

    test('serve answers from quantised weights', async () => {
        const sandbox = new Sandbox();
        try {
            const from = makeTinyModel(path.join(sandbox.work, 'source'));
            const to = path.join(sandbox.work, 'small');
            quantize(from, to, '--format', 'int4', '--activations', 'int8');
            const service = new Service(sandbox, ['--model', to, '--threads', '1']);
            await service.ready();
            const ask = { prompt: 'int main(', max_tokens: 8, temperature: 0, ignore_eos: true };
            const answers = [await service.complete(ask), await service.complete(ask)];
            assert.deepEqual(answers.map((a) => a.status), [200, 200]);
            assert.equal(answers[0].json.usage.completion_tokens, 8);
            assert.equal(answers[0].json.choices[0].text, answers[1].json.choices[0].text);
        } finally {
            sandbox.close();
        }
    });
});

describe('one result', () => {
    let source, expected;
    const options = ['--format', 'int4', '--shard-mib', 1];
    before(() => {
        source = checkpoint('killed', '--d-model', 256, '--ffn', 512, '--experts', 8, '--n-layers', 3,
            '--vocab', 2000);
        fs.writeFileSync(path.join(source, 'tokenizer_config.json'), '{"a": 1}');
        fs.writeFileSync(path.join(source, 'x.tiktoken'), 'IQ== 0\n');
        fs.writeFileSync(path.join(source, 'notes.txt'), 'not part of a model');
        quantize(source, at('one'), ...options, '--threads', 1);
        expected = digests(at('one'));
    });

    test('holds config, index, record and tokenizer, and nothing else', () => {
        const names = Object.keys(expected).filter((name) => !name.endsWith('.safetensors'));
        assert.deepEqual(names, ['config.json', 'model.safetensors.index.json', 'quantize.json',
            'tokenizer_config.json', 'x.tiktoken']);
        assert.ok(Object.keys(expected).length > 12);
        assert.equal(fs.existsSync(`${at('one')}.partial`), false);
    });

    test('is the same for two threads and for five', () => {
        for (const n of [2, 5]) {
            quantize(source, at(`threads-${n}`), ...options, '--threads', n);
            assert.deepEqual(digests(at(`threads-${n}`)), expected);
        }
    });

    /** Shards that the journal of an unfinished copy vouches for. */
    function shardsDone(to) {
        try {
            return JSON.parse(fs.readFileSync(path.join(`${to}.partial`, 'quantize.json'))).shards.length;
        } catch {
            return 0; // not begun, or finished and renamed
        }
    }

    /** Killed when `moment()` has come. Whether the process was still there to be killed. */
    async function killedAt(moment, to) {
        const child = spawn(program, ['quantize', source, to, ...options, '--threads', '2'],
            { stdio: 'ignore' });
        let over = false;
        const ended = new Promise((done) => {
            child.on('exit', (_, signal) => { over = true; done(signal); });
        });
        while (!over && !moment()) await sleep(1);
        child.kill('SIGKILL');
        return await ended === 'SIGKILL';
    }

    test('is the same after kills at random moments', async () => {
        const begun = Date.now();
        quantize(source, at('timed'), ...options, '--threads', 2);
        const whole = Date.now() - begun;
        let kills = 0, resumed = 0;
        for (let round = 0; (kills < 10 || resumed === 0) && round < 30; round++) {
            const to = at(`killed-${round}`);
            const until = Date.now() + Math.random() * whole;
            kills += await killedAt(() => Date.now() >= until, to);
            // a moment of the clock may miss the shards on any machine; one of the journal does not
            const shards = shardsDone(to) + 1 + round % 4;
            if (!fs.existsSync(to)) kills += await killedAt(() => shardsDone(to) >= shards, to);
            assert.equal(fs.existsSync(path.join(to, 'config.json')), fs.existsSync(to));
            if (!fs.existsSync(to)) {
                const { stdout } = quantize(source, to, ...options, '--json', '--threads', 2);
                resumed += JSON.parse(stdout).shards_resumed;
            }
            assert.deepEqual(digests(to), expected);
            fs.rmSync(to, { recursive: true });
        }
        assert.ok(kills >= 10, `${kills} kills`);
        assert.ok(resumed > 0, 'no shard was taken over');
    });

    test('shards that were cut or overwritten are made again', () => {
        const to = at('mended'), partial = `${to}.partial`;
        const shards = Object.keys(expected).filter((name) => name.startsWith('model-'));
        fs.cpSync(at('one'), partial, { recursive: true });
        fs.rmSync(path.join(partial, 'config.json'));
        fs.truncateSync(path.join(partial, shards[1]), 5000);
        fs.copyFileSync(path.join(partial, shards[3]), path.join(partial, shards[4]));
        fs.writeFileSync(path.join(partial, 'quantize.json.4711.tmp'), '{');
        const { stdout } = quantize(source, to, ...options, '--json');
        const summary = JSON.parse(stdout);
        assert.equal(summary.shards_resumed, summary.shards - 2);
        assert.deepEqual(digests(to), expected);
    });
});

describe('refused', () => {
    let source;
    before(() => { source = checkpoint('plain'); });

    test('wrong use', () => {
        assert.match(refused(2, source, at('x')), /--format is missing/);
        assert.match(refused(2, source, at('x'), '--format', 'fp4'), /"fp4", expected fp8, int8 or int4/);
        assert.match(refused(2, source, '--format', 'fp8'), /found 1 directories/);
        assert.match(refused(2, source, at('x'), '--format', 'fp8', '--activations', 'q'), /"q"/);
        assert.match(refused(1, at('absent'), at('x'), '--format', 'fp8'), /absent: no such directory/);
        assert.match(refused(1, source, at('no/such'), '--format', 'fp8'), /no\/such\.partial/);
        assert.match(refused(2, source, source, '--format', 'fp8'), /exists already and is not empty/);
        assert.deepEqual(fs.readdirSync(root).filter((name) => name.startsWith('x')), []);
        const help = run(program, ['quantize', '--help']).stdout.toString();
        assert.match(help, /--format NAME/);
    });

    test('a source that is quantised', () => {
        quantize(source, at('twice'), '--format', 'int8');
        assert.match(refused(2, at('twice'), at('x'), '--format', 'int4'), /weights are int8 already/);
    });

    test('an empty destination is taken, a file is not', () => {
        fs.mkdirSync(at('empty'));
        quantize(source, `${at('empty')}//`, '--format', 'fp8');
        assert.ok(fs.existsSync(at('empty', 'config.json')));
        fs.writeFileSync(at('file'), '');
        assert.match(refused(2, source, at('file'), '--format', 'fp8'), /exists already/);
    });

    test('a second writer', async () => {
        const partial = `${at('locked')}.partial`;
        fs.mkdirSync(partial);
        const holder = spawn('/usr/bin/flock', [partial, '-c', 'echo held; read line'],
            { stdio: ['pipe', 'pipe', 'ignore'] });
        try {
            await new Promise((done) => { holder.stdout.once('data', done); });
            assert.match(refused(1, source, at('locked'), '--format', 'fp8'),
                /locked\.partial: another quantize is writing it/);
            assert.ok(fs.existsSync(partial));
        } finally {
            holder.stdin.end();
            await new Promise((done) => { holder.on('exit', done); });
        }
        quantize(source, at('locked'), '--format', 'fp8');
    });

    test('the beginning of something else', () => {
        const partial = `${at('other')}.partial`;
        fs.mkdirSync(partial);
        fs.writeFileSync(path.join(partial, 'diary.txt'), '');
        assert.match(refused(2, source, at('other'), '--format', 'fp8'), /"diary.txt" but no quantize.json/);
        fs.rmSync(partial, { recursive: true });
        fs.cpSync(at('twice'), partial, { recursive: true });
        assert.match(refused(2, source, at('other'), '--format', 'fp8'), /begun with another "weights"/);
        fs.utimesSync(path.join(source, 'model.safetensors'), 1, 1);
        assert.match(refused(2, source, at('other'), '--format', 'int8'), /begun with another "source"/);
        assert.ok(fs.existsSync(path.join(partial, 'quantize.json')));
    });

    test('too little space, with numbers', (t) => {
        run(python, [path.join(repository, 'tests/tools/sparse_dbrx.py'), at('sparse')]);
        const free = (directory) => {
            const s = fs.statfsSync(directory);
            return s.bavail * s.bsize;
        };
        const places = [root, '/dev/shm'].filter((place) => fs.existsSync(place));
        const place = places.find((directory) => free(directory) < 60e9);
        const least = places.sort((a, b) => free(a) - free(b))[0];
        if (free(least) > 130e9) return t.skip('no file system here has less than 130 GB free');
        const to = path.join(place ?? least, `dbrx-ls-space-${process.pid}`);
        const why = refused(1, at('sparse'), to, '--format', 'fp8');
        const [, found, needed] = /not enough space: (\d+) bytes .* are free, expected (\d+) bytes/.exec(why);
        // 128.2 G weights in a byte, 1.2 GB of embedding in 16 bits, scales of 4 bytes a row
        assert.ok(Number(needed) > 131e9 && Number(needed) < 134e9, why);
        assert.ok(Number(found) < Number(needed));
        assert.equal(fs.existsSync(`${to}.partial`), false);
    });

    for (const [what, bits, tensor, place] of [
        ['NaN', 0x7fc0, 'transformer.blocks.1.ffn.experts.mlp.w2', [700, 5]],
        ['infinity', 0xff80, 'lm_head.weight', [510, 127]],
        ['NaN that would be copied', 0xffff, 'transformer.wte.weight', [3, 0]],
    ]) {
        test(`${what}, by tensor and place, for any number of threads`, () => {
            const from = checkpoint(`bad-${bits}`), file = path.join(from, 'model.safetensors');
            patch(file, tensor, (place[0] * 128 + place[1]) * 2, Buffer.from([bits & 255, bits >> 8]));
            for (const threads of [1, 4]) {
                const why = refused(1, from, at(`bad-${bits}-out`), '--format', 'int4', '--threads', threads);
                assert.ok(why.includes(`tensor ${tensor}: value [${place.join(', ')}]`), why);
            }
            assert.equal(fs.existsSync(at(`bad-${bits}-out`)), false);
        });
    }
});

/** [header length, header] of a safetensors file. */
function headerOf(file) {
    const bytes = fs.readFileSync(file), size = Number(bytes.readBigUInt64LE(0));
    return [size, JSON.parse(bytes.subarray(8, 8 + size).toString())];
}

/** Overwrites bytes of a tensor. */
function patch(file, tensor, offset, bytes) {
    const [size, header] = headerOf(file);
    const fd = fs.openSync(file, 'r+');
    fs.writeSync(fd, bytes, 0, bytes.length, 8 + size + header[tensor].data_offsets[0] + offset);
    fs.closeSync(fd);
}

/** Writes the file again with another header over the same bytes. */
function headerChange(file, change) {
    const bytes = fs.readFileSync(file), [size, header] = headerOf(file);
    change(header);
    const json = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    fs.writeFileSync(file, Buffer.concat([length, json, bytes.subarray(8 + size)]));
}

describe('bad quantised checkpoints', () => {
    const w1 = 'transformer.blocks.0.ffn.experts.mlp.w1', w2 = 'transformer.blocks.1.ffn.experts.mlp.w2';
    const renamed = (from, to) => (h) => { h[to] = h[from]; delete h[from]; };
    const shaped = (name, shape) => (h) => { h[name].shape = shape; };
    const typed = (name, dtype) => (h) => { h[name].dtype = dtype; };
    const cases = [
        ['int4', renamed(`${w1}.scales`, 'odd'), [`tensor ${w1}.scales is missing`]],
        ['int8', renamed('lm_head.weight.scales', 'lm_head.scale'), ['lm_head.weight.scales is missing']],
        ['int4', typed(w1, 'I8'), [`tensor ${w1}: dtype I8, expected U8`]],
        ['int4', typed('lm_head.weight', 'I8'), ['lm_head.weight: dtype I8, expected F8_E4M3']],
        ['fp8', typed(w2, 'U8'), [`${w2}: dtype U8, expected F8_E4M3`]],
        ['int4', typed(`${w1}.scales`, 'F16'), ['.scales: dtype F16, expected BF16']],
        ['int8', typed(`${w1}.scales`, 'I32'), ['.scales: dtype I32, expected F32']],
        // [experts * ffn, d_model / 2]: what a w2 that was not transposed would be
        ['int4', shaped(w2, [1152, 64]), [`${w2}: shape [1152, 64], expected [512, 144]`]],
        ['int8', shaped(`${w1}.scales`, [1152, 1]), ['shape [1152, 1], expected [1152]']],
        ['int4', shaped(`${w2}.scales`, [3, 512]), ['shape [3, 512], expected [512, 3]']],
        ['int8', typed('transformer.wte.weight', 'I16'), ['dtype I16, expected BF16, F16 or F32']],
    ];
    let source;
    before(() => {
        source = checkpoint('bad');
        for (const format of formats) quantize(source, at(`bad-${format}`), '--format', format);
    });

    const shard = (model) => path.join(model, 'model-00001-of-00001.safetensors');

    /** A copy with one file instead of an index, so that names can be changed. */
    function copy(format) {
        const to = at(`bad-copy-${format}`);
        fs.rmSync(to, { recursive: true, force: true });
        fs.cpSync(at(`bad-${format}`), to, { recursive: true });
        fs.renameSync(shard(to), path.join(to, 'model.safetensors'));
        fs.rmSync(path.join(to, 'model.safetensors.index.json'));
        return to;
    }

    function why(model) {
        return run(program, ['logits', '--model', model, '--tokens', '1'], { status: 1 }).stderr;
    }

    for (const [format, change, fragments] of cases)
        test(`${format}: ${fragments[0]}`, () => {
            const model = copy(format);
            headerChange(path.join(model, 'model.safetensors'), change);
            const message = why(model);
            for (const fragment of fragments) assert.ok(message.includes(fragment), message);
        });

    test('scales that are NaN, infinite or negative', () => {
        for (const [value, shown] of [[0x7fc0, 'nan'], [0x7f80, 'inf'], [0xbf80, '-1']]) {
            const model = copy('int4'), bytes = Buffer.from([value & 255, value >> 8]);
            patch(path.join(model, 'model.safetensors'), `${w2}.scales`, 2 * 17, bytes);
            const message = why(model);
            assert.ok(message.includes(`${w2}.scales: scale 17 is ${shown}`), message);
        }
    });

    test('a config that says another format, or a group size that is not 128', () => {
        for (const [from, to, fragment] of [
            ['"int4"', '"int8"', 'expected I8'], ['"int4"', '"bf16"', 'expected BF16, F16 or F32'],
            ['128\n  }', '64\n  }', 'dbrx_ls.group_size is 64']]) {
            const model = copy('int4'), file = path.join(model, 'config.json');
            const config = fs.readFileSync(file, 'utf8');
            assert.ok(config.includes(from), config);
            fs.writeFileSync(file, config.replace(from, to));
            const message = why(model);
            assert.ok(message.includes(fragment), message);
        }
    });

    test('16-bit weights with an object that says they are quantised', () => {
        const model = at('liar');
        fs.cpSync(source, model, { recursive: true });
        const file = path.join(model, 'config.json');
        const config = JSON.parse(fs.readFileSync(file, 'utf8'));
        fs.writeFileSync(file, JSON.stringify({ ...config, dbrx_ls: { weights: 'fp8' } }));
        assert.match(why(model), /tensor lm_head.weight: dtype BF16, expected F8_E4M3/);
    });

    test('scales at an odd address are read right', () => {
        // One more byte of header moves every tensor; bytes and scales are used where they lie.
        const model = copy('int4'), file = path.join(model, 'model.safetensors');
        const plain = logits(model, 'cpu');
        const [, header] = headerOf(file);
        headerChange(file, (h) => {
            h.__metadata__ = { pad: 'x'.repeat(1 + (JSON.stringify(header).length % 2)) };
        });
        assert.deepEqual(logits(model, 'cpu'), plain);
    });
});

describe('progress', () => {
    let source;
    before(() => { source = checkpoint('progress'); });

    test('is lines where stderr is no terminal', () => {
        const { stderr } = quantize(source, at('lines'), '--format', 'fp8', '--shard-mib', 1);
        const lines = stderr.trimEnd().split('\n');
        assert.ok(lines.length >= 1 && lines.length <= 10);
        for (const line of lines) assert.match(line, /^\[[#.]{30}\] +\d+ % {2}\d+ MiB\/s/);
        assert.match(lines.at(-1), /^\[#{30}\] 100 %/);
    });

    test('is one line, written again, on a terminal', () => {
        const script = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)';
        const { stdout } = run(python, ['-c', script, program, 'quantize', source, at('bar'),
            '--format', 'fp8', '--shard-mib', '1']);
        const text = stdout.toString();
        assert.match(text, /\r\x1b\[K\[\.{30}\] {3}0 % /);
        assert.match(text, /\r\x1b\[K\[#{30}\] 100 % .*left: 0 s\r\n/);
        assert.match(text, /bar: [\d.]+ MiB from [\d.]+ MiB in \d shards/);
    });
});
