// `dbrx-ls bench` as scripts see it: one object whose figures agree with each other. No figure is
// compared with a time: what is fast is not a test's business.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { makeTinyModel } from './support/tiny_model.js';

const FIXTURE = 'context/prompt_text.c';
let sandbox, model;

before(() => {
    sandbox = new Sandbox();
    model = makeTinyModel(path.join(sandbox.work, 'tiny-dbrx'), { demo: true });
});
after(() => sandbox.close());

const flags = (args) => ['bench', '--model', model, '--threads', '1', ...args];

function run(args, options = {}) {
    const r = spawnSync(program, flags(args), { env: sandbox.env(), encoding: 'utf8', ...options });
    return { code: r.status, out: r.stdout, err: r.stderr };
}

/** The object of a run. A busy machine may have measured an impossible share: then it says so. */
function measure(args) {
    const { code, out, err } = run([...args, '--json']);
    const all = JSON.parse(out);
    assert.equal(code, all.faults.length ? 1 : 0, err);
    for (const fault of all.faults) assert.match(fault, /the share is/);
    assert.equal(all.stopped, false);
    return all;
}

function near(found, expected) {
    assert.ok(Math.abs(found - expected) <= 1e-4 * Math.abs(expected), `${found}, not ${expected}`);
}

/** tokens asked = found + computed, and the share is theirs. */
function checkFigures(f) {
    assert.equal(f.cached_tokens + f.computed_tokens, f.prompt_tokens);
    assert.ok(f.cached_tokens >= 0 && f.computed_tokens >= 0);
    if (f.prompts > 0) near(f.share_found_in_cache, f.cached_tokens / f.prompt_tokens);
    else assert.equal(f.share_found_in_cache, null);
    for (const kind of Object.values(f.by_kind ?? {})) checkFigures(kind);
}

const sumOfKinds = (f, field) => Object.values(f.by_kind).reduce((sum, kind) => sum + kind[field], 0);

test('the steps and the engine', () => {
    const all = measure(['--repeats', '1']);
    assert.equal(all.engine.model, 'tiny-dbrx');
    assert.ok(all.machine_read_gb_per_s > 0);
    assert.deepEqual(all.prefill.map((cell) => [cell.tokens, cell.fits]),
        [[64, true], [512, true], [2048, true]]);
    assert.deepEqual(all.decode.map((cell) => cell.batch), [1, 4]);
    for (const cell of all.prefill) near(cell.tokens_per_s, cell.tokens * 1e3 / cell.median_ms);
    for (const cell of all.decode) {
        const bytes = cell.weight_bytes_per_step + cell.kv_bytes_per_step;
        near(cell.tokens_per_s, cell.batch * 1e3 / cell.median_ms);
        near(cell.gb_per_s, bytes / cell.median_ms / 1e6);
        assert.ok(cell.low_ms <= cell.median_ms && cell.median_ms <= cell.high_ms);
        assert.ok(cell.weight_bytes_per_step < all.model.stored_bytes);
        assert.ok(cell.distinct_experts_per_layer >= 2 && cell.distinct_experts_per_layer <= 4);
        if (cell.share_of_read_bandwidth !== null)
            near(cell.share_of_read_bandwidth, cell.gb_per_s / cell.read_loop_gb_per_s);
    }
    // One row asks for top-k experts: exactly 2 of 4 in each layer.
    assert.equal(all.decode[0].distinct_experts_per_layer, 2);
    checkBytes(all.decode[0]);
    checkFigures(all.prompt_cold);
    assert.equal(all.prompt_cold.cached_tokens, 0);
    checkFigures(all.prompt_cached);
    assert.equal(all.prompt_cached.computed_tokens, 16 * all.prompt_cached.prompts);
    assert.ok(all.cache.cached_tokens <= all.cache.prompt_tokens);
    const { close, tokens, under_nats } = all.close_calls;
    assert.ok(under_nats === 0.25 && tokens > 0 && close >= 0 && close <= tokens);
    const foretold = all.foretold_answer;
    assert.ok(foretold.accepted_tokens > 0 && foretold.accepted_tokens <= foretold.drafted_tokens);
    assert.ok(foretold.drafted_tokens <= all.drafts.drafted_tokens);
    assert.ok(all.drafts.accepted_tokens <= all.drafts.drafted_tokens);
});

/** Bytes that one stream's only timed step reads, by hand. */
function checkBytes(cell) {
    // The tiny model: d 64, 2 layers, 4 heads of 16, 2 KV heads, 4 experts of 64, 1056 ids, bf16.
    const layer = 2 * 64 + (64 + 2 * 32) * 64 + 64 * 64 + 4 * 64; // norms, qkv, out, router
    const always = 2 * (2 * layer + 64 + 1056 * 64); // and the last norm, the head
    const expert = 2 * 3 * 64 * 64, row = 2 * 64;
    assert.equal(cell.weight_bytes_per_step, always + 2 * 2 * expert + row);
    // K and V of 2 heads of 16 in 2 layers, bf16; 512 tokens, 3 steps to warm up, and this one.
    assert.equal(cell.kv_bytes_per_step, (512 + 3 + 1) * 2 * 2 * 2 * 16 * 2);
}

test('a typing session', () => {
    const args = ['--session', 'builtin', '--sources', FIXTURE, '--prompts', '40', '--budget', '2000'];
    const all = measure(args);
    assert.deepEqual(all.session.documents, [FIXTURE]);
    assert.ok(all.session.prompts >= 40 && all.session.prompts === all.session.steps);
    checkFigures(all.findable);
    assert.deepEqual(all.ways.map((way) => way.pause_ms), [null, 50, 200]);
    for (const way of all.ways) {
        checkFigures(way);
        assert.equal(way.prompts, all.session.prompts);
        assert.equal(way.prompt_tokens, all.findable.prompt_tokens);
        for (const field of ['prompts', 'prompt_tokens', 'cached_tokens'])
            assert.equal(sumOfKinds(way, field), way[field]);
    }
    const [none, ...warmed] = all.ways;
    assert.ok(none.cached_tokens > 0 && none.cached_tokens <= all.findable.cached_tokens);
    for (const way of warmed) {
        assert.ok(way.cached_tokens >= none.cached_tokens);
        assert.equal(way.gain_over_no_warming.tokens_not_waited_for,
            way.cached_tokens - none.cached_tokens);
    }
    checkFigures(all.cold);
    assert.equal(all.cold.cached_tokens, 0);
    // Without an engine the prompts are the same, and again.
    const { findable, first_block_not_found } = measure([...args, '--prompts-only']);
    assert.deepEqual(findable, all.findable);
    assert.deepEqual(first_block_not_found, all.first_block_not_found);
});

test('a session that does everything twice finds the second time what it found the first', () => {
    const base = fs.readFileSync(FIXTURE, 'utf8');
    const file = path.join(sandbox.work, 'twice.jsonl');
    const looks = [0, 40, 400, 900, 200].map((cursor) =>
        ({ kind: 'jump', document: 0, pause_ms: 1, at: cursor, removed: 0, inserted: '', cursor }));
    const write = (steps) => fs.writeFileSync(file,
        [{ typing_session: 1, seed: 0, documents: 1, steps: steps.length },
            { path: 'prompt_text.c', text: base }, ...steps].map((l) => JSON.stringify(l)).join('\n'));
    write(looks);
    const once_ = measure(['--session', file, '--pause-ms', '0', '--budget', '2000']);
    write([...looks, ...looks]);
    const twice = measure(['--session', file, '--pause-ms', '0', '--budget', '2000']);
    assert.equal(twice.session.prompts, 10);
    assert.equal(twice.ways.length, 2);
    assert.ok(twice.ways[0].cached_tokens >= 2 * once_.ways[0].cached_tokens);
});

test('a session in a file', () => {
    const file = path.join(sandbox.work, 'session.jsonl');
    const args = ['--session', 'builtin', '--sources', FIXTURE, '--prompts', '40', '--prompts-only'];
    const made = measure([...args, '--save', file]);
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    const read = measure(['--session', file, '--prompts-only']);
    assert.deepEqual(read.findable, made.findable);
    const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
    assert.equal(lines.length, 2 + made.session.steps);
    const broken = (name, change) => {
        const copy = [...lines];
        change(copy);
        fs.writeFileSync(file, copy.join('\n'));
        const { code, out, err } = run(['--session', file, '--prompts-only', '--json']);
        assert.deepEqual([name, code, out], [name, 1, '']);
        assert.match(err, /^dbrx-ls bench: .*session\.jsonl/, name);
    };
    const edit = (i, change) => (l) => { l[i] = JSON.stringify({ ...JSON.parse(l[i]), ...change }); };
    broken('empty', (l) => { l.length = 0; });
    broken('cut', (l) => { l.length = 10; });
    broken('longer than it says', (l) => { l.push(l[5]); });
    broken('no JSON', (l) => { l[4] = l[4].slice(0, 20); });
    broken('another version', edit(0, { typing_session: 2 }));
    broken('too many', edit(0, { steps: 1e12 }));
    broken('no documents', edit(0, { documents: 0 }));
    broken('no text', edit(1, { text: 7 }));
    broken('unknown kind', edit(3, { kind: 'dance' }));
    broken('no such document', edit(3, { document: 1 }));
    broken('outside the document', edit(3, { at: 1e6 }));
    broken('a negative cursor', edit(3, { cursor: -1 }));
});

test('users', () => {
    const all = measure(['--users', '2', '--seconds', '3', '--speed', '3', '--sources', 'context']);
    assert.equal(all.users.length, 1);
    const [users] = all.users;
    assert.equal(users.users, 2);
    assert.ok(users.prompts > 0);
    checkFigures(users);
    assert.ok(users.ttft_ms_p50 <= users.ttft_ms_p95 && users.ttft_ms_p95 <= users.ttft_ms_p99);
    assert.ok(users.warm_useful_tokens + users.warm_wasted_tokens <= all.cache.warm_tokens);
});

test('a simulated machine', () => {
    const { machine, scenarios } = measure(['--simulate', 'h200-int4']);
    assert.equal(machine, 'h200-int4');
    assert.ok(scenarios.length > 0);
    for (const { name, about, figures } of scenarios)
        assert.ok(name && about && Object.values(figures).some((value) => value !== null), name);
});

test('tables for people', () => {
    const { code, out } = run(['--session', 'builtin', '--sources', FIXTURE, '--prompts', '5',
        '--budget', '1200']);
    assert.equal(code, 0);
    assert.match(out, /^\d+ prompts of a typing session in 1 files \(seed 1\)/);
    assert.match(out, /\nno warming +\d+ +\d+\.\d/);
    assert.match(out, /\ncold +\d+ +0\.0/);
});

test('interrupted: what there is, and an end', async () => {
    const child = spawn(program, flags(['--users', '1', '--seconds', '600', '--json', '--sources', 'context']),
        { env: sandbox.env() });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
    setTimeout(() => child.kill('SIGINT'), 1500);
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    assert.equal(JSON.parse(out).stopped, true);
});

test('wrong use: one line that says what was expected', () => {
    for (const [args, code, message] of [
        [['x'], 2, /unexpected argument "x"/],
        [['--users', '0'], 2, /--users: found "0"/],
        [['--users', 'many'], 2, /--users: found "many"/],
        [['--users', '2', '--session', 'builtin'], 2, /exclude each other/],
        [['--simulate', 'abacus'], 2, /abacus/],
        [['--speed', '0', '--users', '1'], 2, /--speed/],
        [['--repeats', '0'], 2, /--repeats/],
        [['--session', 'builtin', '--sources', 'nowhere'], 1, /nowhere/],
        [['--session', 'nowhere'], 1, /nowhere/],
        [['--session', 'builtin', '--sources', FIXTURE, '--prompts', '90000'], 2, /give more or larger/],
        [['--model', 'nowhere'], 1, /nowhere/],
        [['--backend', 'abacus'], 1, /abacus/],
    ]) {
        const result = run(args);
        assert.equal(result.code, code, `${args}: ${result.err}`);
        assert.match(result.err, /^dbrx-ls bench: [^\n]*\n$/, `${args}`);
        assert.match(result.err, message);
        assert.equal(result.out, '');
    }
});

test('a session typed in an editor: warming beside none', () => {
    const source = path.join(sandbox.work, 'short.c');
    const body = 'int f(void)\n{\n    return 1;\n}\n\n';
    fs.writeFileSync(source, Array.from({ length: 60 }, (_, i) => body.replace('f', `f${i}`)).join(''));
    const args = ['--lsp', '--sources', source, '--documents', '1', '--prompts', '10', '--speed', '2'];
    const { ways } = measure(args);
    assert.deepEqual(ways.map((way) => way.warming), [false, true]);
    for (const way of ways) {
        assert.ok(way.asked > 0 && way.requests > 0, JSON.stringify(way));
        assert.ok(way.requests <= way.asked && way.cancelled <= way.asked);
        assert.ok(way.share_found_in_cache >= 0 && way.share_found_in_cache <= 1);
        assert.equal(way.warm_wasted_tokens, way.warm_tokens - way.warm_useful_tokens);
        assert.ok(way.handler_ms_p99 > 0);
        assert.ok(way.ttft_measured > 0 && way.ttft_measured <= way.asked);
        assert.ok(way.front_peak_mib > 1 && way.front_peak_mib < 4096);
        const after = Object.values(way.after);
        assert.ok(after.length > 0 && after.every((kind) => kind.requests > 0 && kind.tokens_not_found > 0));
        assert.ok(way.tokens_computed_for_questions > 0);
    }
    assert.deepEqual([ways[0].warm_requests, ways[0].warm_tokens], [0, 0]);
    assert.ok(ways[1].warm_requests > 0);
    for (const other of [['--users', '1'], ['--prompts-only']]) {
        const { code, err } = run([...args, ...other]);
        assert.equal(code, 2);
        assert.match(err, /--lsp/);
    }
});
