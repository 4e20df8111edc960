// `dbrx-ls quantize --calibrate`: statistics against a forward pass in double, every byte against a
// second implementation (tests/oracle/calibrated.py), interruptions, and whether it is worth it: less
// divergence from the source on a text that was not calibrated on. Then --report.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { program, repository } from './support/modules.js';
import { eventually } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const python = '/usr/bin/python3';
const oracle = path.join(repository, 'tests/oracle/calibrated.py');
const tokens = ['--calibrate-tokens', 300];

let root, source, small, text, other;
const at = (name) => path.join(root, name);
before(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'dbrx-ls-calibrate-'));
    // Attention as soft as a trained model's, and columns that count differently.
    source = makeTinyModel(at('source'), { width: 256, layers: 3,
        flags: ['--experts', 8, '--ffn', 288, '--gains-spread', 1, '--qkv-scale', 0.2] });
    small = makeTinyModel(at('small'), { width: 160, flags: ['--gains-spread', 1, '--n-heads', 5,
        '--kv-n-heads', 1, '--experts', 6, '--ffn', 96, '--vocab', 1040] });
    const fixtures = path.join(repository, 'tests/fixtures');
    const lines = ['Account.java', 'matrix.go', 'queue.js', 'shapes.ts', 'shelf.py', 'words.rs']
        .flatMap((name) => fs.readFileSync(path.join(fixtures, name), 'utf8').split('\n'));
    [text, other] = ['text', 'other'].map(at);
    fs.writeFileSync(text, lines.slice(0, lines.length / 2).join('\n'));
    fs.writeFileSync(other, lines.slice(lines.length / 2).join('\n'));
});
after(() => fs.rmSync(root, { recursive: true, force: true }));

function run(file, args, { input, status = 0 } = {}) {
    // numpy's small products are slower on many threads, and very slow on a busy machine
    const env = { ...process.env, OPENBLAS_NUM_THREADS: '1' };
    const r = spawnSync(file, args.map(String), { input, env, encoding: 'utf8' });
    assert.equal(r.status, status, `${file} ${args.join(' ')}: ${r.error ?? r.stderr}`);
    return r;
}
const quantize = (to, ...args) => run(program, ['quantize', source, to, ...args]);

function digests(directory) {
    return Object.fromEntries(fs.readdirSync(directory).sort().map((name) => [name,
        createHash('sha256').update(fs.readFileSync(path.join(directory, name))).digest('hex')]));
}

describe('calibrate', () => {
    for (const format of ['fp8', 'int8', 'int4'])
        test(`${format}: statistics and bytes, recorded with the text`, () => {
            const to = at(format);
            run(program, ['quantize', small, to, '--format', format, '--calibrate', text, ...tokens]);
            const ids = run(program, ['tokenize', '--model', small],
                { input: fs.readFileSync(text) }).stdout.split('\n').slice(0, 300).join(' ');
            run(python, [oracle, 'moments', small, to], { input: ids });
            run(python, [oracle, 'check', small, to]);
            const journal = JSON.parse(fs.readFileSync(path.join(to, 'quantize.json'), 'utf8'));
            assert.deepEqual(journal.calibration, { tokens: 300,
                text_sha256: createHash('sha256').update(fs.readFileSync(text)).digest('hex') });
            const statistics = fs.readFileSync(path.join(to, 'calibration.bin'));
            assert.equal(statistics.subarray(-64).toString(), journal.statistics_sha256);
            assert.equal(createHash('sha256').update(statistics.subarray(0, -64)).digest('hex'),
                journal.statistics_sha256);
        });

    test('it lowers the divergence on another text', () => {
        for (const format of ['fp8', 'int4']) {
            const mean = (...args) => {
                const to = at(`worth-${format}-${args.length}`);
                const { stdout } = quantize(to, '--format', format, ...args, '--report', other,
                    '--report-tokens', 1000, '--json');
                const { comparison } = JSON.parse(stdout);
                assert.equal(comparison.tokens, 1000);
                return comparison;
            };
            const plain = mean(), calibrated = mean('--calibrate', text);
            // Numerics alone: with its own routes a few choices that flip outweigh all else, in random
            // weights more than in trained ones.
            const [less, more] = [calibrated, plain].map((c) => c.routes_of_source.mean);
            assert.ok(less < 0.8 * more, `${format}: ${less}, plain ${more}`);
        }
    });

    test('the same for any number of threads, and after kills', async () => {
        const options = ['--format', 'int4', '--calibrate', text, '--shard-mib', 1];
        quantize(at('one'), ...options, '--threads', 1);
        const expected = digests(at('one'));
        const begun = Date.now();
        quantize(at('three'), ...options, '--threads', 3);
        const whole = Date.now() - begun;
        assert.deepEqual(digests(at('three')), expected);
        let kills = 0, kept = 0;
        for (let round = 0; kills < 3 && round < 12; round++) {
            const to = at(`killed-${round}`);
            const child = spawn(program, ['quantize', source, to, ...options, '--threads', '2'],
                { stdio: 'ignore' });
            const ended = new Promise((done) => { child.on('exit', (_, signal) => done(signal)); });
            const statistics = path.join(`${to}.partial`, 'calibration.bin');
            // the first time once statistics are kept, then at any moment
            const moment = round ? sleep(Math.random() * whole)
                : eventually('statistics', () => fs.existsSync(statistics) || child.exitCode !== null, 120000);
            await Promise.race([moment, ended]);
            child.kill('SIGKILL');
            if (await ended === 'SIGKILL') kills++;
            const before = fs.existsSync(statistics) ? fs.statSync(statistics).ino : 0;
            if (!fs.existsSync(to)) quantize(to, ...options, '--threads', 2);
            if (before && fs.statSync(path.join(to, 'calibration.bin')).ino === before) kept++;
            assert.deepEqual(digests(to), expected);
        }
        assert.ok(kills >= 3, `${kills} kills`);
        assert.ok(kept > 0, 'statistics were never taken up');
    });

    test('another text, no text, spoilt statistics', () => {
        const partial = `${at('again')}.partial`, options = ['--format', 'int4', '--shard-mib', 1];
        const refused = (...args) => run(program, ['quantize', source, at('again'), ...options, ...args],
            { status: 2 }).stderr;
        const begin = () => {
            fs.rmSync(partial, { recursive: true, force: true });
            fs.cpSync(at('one'), partial, { recursive: true });
            fs.rmSync(path.join(partial, 'config.json'));
        };
        begin();
        assert.match(refused('--calibrate', other), /begun with another "calibration"/);
        assert.match(refused('--calibrate', text, ...tokens), /begun with another "calibration"/);
        assert.match(refused(), /begun with a calibration/);
        const file = path.join(partial, 'calibration.bin'), bytes = fs.readFileSync(file);
        for (const spoilt of [bytes.subarray(0, 5000), Buffer.from(bytes).fill(1, 5000, 5001), Buffer.alloc(0)]) {
            begin();
            fs.writeFileSync(file, spoilt);
            quantize(at('again'), ...options, '--calibrate', text);
            assert.deepEqual(digests(at('again')), digests(at('one')));
            fs.rmSync(at('again'), { recursive: true });
        }
        // shards that were made with other numbers are not mixed with new ones
        begin();
        const journal = path.join(partial, 'quantize.json'), made = fs.readFileSync(journal, 'utf8');
        fs.writeFileSync(journal, made.replace(/("statistics_sha256": ")../, '$1zz'));
        const { stderr } = run(program, ['quantize', source, at('again'), ...options, '--calibrate', text],
            { status: 1 });
        assert.match(stderr, /was made with other statistics \(zz.*remove the directory/);
    });

    test('texts that are not there or empty, before anything is written', () => {
        const refused = (...args) => run(program, ['quantize', source, at('none'), '--format', 'int4', ...args],
            { status: 2 }).stderr;
        assert.match(refused('--calibrate', at('absent')), /absent: no such file/);
        assert.match(refused('--report', at('absent')), /absent: no such file/);
        fs.writeFileSync(at('empty'), '');
        assert.match(refused('--calibrate', at('empty')), /empty: holds no text/);
        assert.equal(fs.existsSync(`${at('none')}.partial`), false);
    });

    test('a report for people', () => {
        const { stdout } = quantize(at('told'), '--format', 'int8', '--report', other, '--report-tokens', 100);
        assert.match(stdout, /largest relative error/);
        assert.match(stdout, /100 tokens in 1 window/);
        assert.match(stdout, /routes of the source +[0-9.]+/);
    });
});
