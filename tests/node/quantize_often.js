// The quantiser killed at 50 moments spread over its whole work, with and without a calibration, by
// one thread and by two; and a file with offsets above 4 GiB on both sides. For `make test-all`: a
// line per case, as in TAP. SEED repeats a run's chances.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { program, repository } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { makeTinyModel } from './support/tiny_model.js';

const MOMENTS = 50;
const sandbox = new Sandbox();
const at = (name) => path.join(sandbox.work, name);
let state = Number(process.env.SEED ?? 1);
/** 0 to 1; numbers that a failure can be repeated with (Lehmer 1951, modulus 2^31 - 1). */
const chance = () => { state = (state * 48271) % 0x7fffffff; return state / 0x7fffffff; };

function run(file, args) {
    const r = spawnSync(file, args.map(String), { encoding: 'utf8' });
    assert.equal(r.status, 0, `${file} ${args.join(' ')}: ${r.error ?? r.stderr}`);
    return r.stdout;
}

/** One digest of all files, names included. */
function digest(directory) {
    const hash = createHash('sha256');
    for (const name of fs.readdirSync(directory).sort())
        hash.update(name).update(fs.readFileSync(path.join(directory, name)));
    return hash.digest('hex');
}

/** How long it ran where it had ended by itself before it could be killed; 0: it was killed. */
async function killedAfter(ms, args) {
    const begun = Date.now(), child = spawn(program, args.map(String), { stdio: 'ignore' });
    const ended = new Promise((done) => { child.on('exit', (_, signal) => done(signal)); });
    await Promise.race([sleep(ms), ended]);
    child.kill('SIGKILL');
    return await ended === 'SIGKILL' ? 0 : Math.max(1, Date.now() - begun);
}

/** The digest of what it makes undisturbed, with one thread and with two. */
function expect(args) {
    const [one, two] = [1, 2].map((threads) => {
        const to = at(`whole-${threads}`);
        run(program, args(to, threads));
        const found = digest(to);
        fs.rmSync(to, { recursive: true });
        return found;
    });
    assert.equal(two, one, 'one and two threads');
    return one;
}

async function killed(options) {
    const source = at('source');
    if (!fs.existsSync(source))
        makeTinyModel(source, { width: 512, layers: 4, flags: ['--experts', 8, '--ffn', 512] });
    const args = (to, threads) => ['quantize', source, to, '--format', 'int4', '--shard-mib', 2,
        '--threads', threads, ...options];
    const expected = expect(args);
    const begun = Date.now();
    run(program, args(at('killed'), 1));
    let whole = Date.now() - begun, kills = 0;
    fs.rmSync(at('killed'), { recursive: true });
    // A machine that others use is now slower, now faster: what ended too early says how fast it is now.
    const kill = async (ms, to, threads) => {
        const took = await killedAfter(ms, args(to, threads));
        if (took) whole = Math.min(whole, took * threads);
        else kills++;
    };
    for (let i = 0; i < MOMENTS; i++) {
        const to = at('killed'), threads = 1 + i % 2;
        // each thread count sees the whole range; now and then the second run is killed as well
        const moment = (Math.floor(i / 2) + chance()) / (MOMENTS / 2) * whole / threads;
        await kill(moment, to, threads);
        if (!fs.existsSync(to) && chance() < 0.3)
            await kill(chance() * whole / 2, to, 3 - threads);
        if (!fs.existsSync(to)) run(program, args(to, 3 - threads));
        assert.equal(digest(to), expected, `moment ${i} of ${MOMENTS}`);
        assert.equal(fs.existsSync(`${to}.partial`), false);
        fs.rmSync(to, { recursive: true });
    }
    assert.ok(kills >= MOMENTS * 0.6, `${kills} kills`);
    return `${kills} kills`;
}

/** One layer of DBRX's true shapes in one file of 9 GB, mostly holes, and one of 5 GB made of it. */
function large() {
    const free = fs.statfsSync(sandbox.work), needed = 6e9;
    if (free.bavail * free.bsize < needed) return `# SKIP ${sandbox.work} has less than 6 GB free`;
    const w2 = 'transformer.blocks.0.ffn.experts.mlp.w2', head = 'lm_head.weight';
    const marks = run('/usr/bin/python3', [path.join(repository, 'tests/tools/sparse_dbrx.py'), at('layer'),
        '--shards', 1, '--layers', 1, '--mark', `${w2}:172031:6143:0x40E0`,
        '--mark', `${head}:100351:6143:0xBF80`]).trim().split('\n').map(Number);
    assert.ok(Math.min(...marks) > 2 ** 32);
    run(program, ['quantize', at('layer'), at('large'), '--format', 'fp8', '--shard-mib', 100000]);
    const file = path.join(at('large'), 'model-00001-of-00001.safetensors'), fd = fs.openSync(file);
    const bytes = (position, size) => {
        const out = Buffer.alloc(size);
        assert.equal(fs.readSync(fd, out, 0, size, position), size);
        return out;
    };
    const size = Number(bytes(0, 8).readBigUInt64LE()), header = JSON.parse(bytes(8, size).toString());
    const end = (name) => 8 + size + header[name].data_offsets[1];
    assert.ok(end(w2) > 2 ** 32);
    // alone in its row, each is the largest code, 448 or -448, times a scale: 7 / 448 and 1 / 448
    for (const [name, code, scale] of [[w2, 0x7e, 7 / 448], [head, 0xfe, Math.fround(1 / 448)]]) {
        assert.deepEqual([...bytes(end(name) - 2, 2)], [0, code], name);
        assert.equal(bytes(end(`${name}.scales`) - 4, 4).readFloatLE(), scale, name);
        assert.equal(bytes(end(`${name}.scales`) - 8, 4).readFloatLE(), 0, name);
    }
    fs.closeSync(fd);
    return `${end(w2)} bytes`;
}

const text = at('text');
fs.writeFileSync(text, fs.readFileSync(path.join(repository, 'inference/quantize.c')));
const cases = {
    'quantize killed at any moment': () => killed([]),
    'quantize killed at any moment, calibrated':
        () => killed(['--calibrate', text, '--calibrate-tokens', 1000]),
    'quantize beyond 4 GiB': large,
};
let failed = false;
for (const [name, body] of Object.entries(cases))
    try {
        const told = await body();
        console.log(told.startsWith('# SKIP') ? `ok ${name} ${told}` : `ok ${name}`);
    } catch (e) {
        failed = true;
        console.log(`not ok ${name} - ${String(e.message).split('\n')[0]}`);
    }
sandbox.close();
process.exit(failed ? 1 : 0);
