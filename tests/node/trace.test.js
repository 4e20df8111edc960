// What `--trace DIR` keeps of a session, and `dbrx-ls replay` on it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startServer } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';

const TRUTH = 'int add(int first, int second)\n{\n    return first + second;\n}\n';
const TYPED = TRUTH.replace(' + second;', '');
const AT = { line: 2, character: 16 };
const OTHER = TRUTH.replace('first + second', 'first - second');
const KEY = `AKIA${'Q3W5E7R9T1Y2U4I6'}`; // the format of an access key
const answering = (truth) => ({ script: oracle({ 'a.c': truth }, { lines: 1 }) });

let sandbox, traces, file;

const lines = () => fs.readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));

async function withEngine(options, body) {
    const engine = await startScriptedEngine(options);
    try {
        return await body(engine);
    } finally {
        await engine.close();
    }
}

function run(args) {
    const child = spawn(program, args, { cwd: sandbox.work, env: sandbox.env() });
    const result = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (text) => { result.out += text; });
    child.stderr.setEncoding('utf8').on('data', (text) => { result.err += text; });
    return new Promise((resolve) => {
        child.on('close', (code) => resolve({ ...result, code }));
    });
}

const replayed = (truth, ...args) => withEngine(answering(truth), async (engine) => {
    const { code, out, err } = await run(['replay', traces, '--endpoint', engine.endpoint, '--speed', '4', ...args]);
    assert.equal(code, 0, err);
    return { out, requests: engine.requests.length };
});

/** One session: a file typed in, one that holds secrets by its name, one that holds a key. */
before(async () => {
    sandbox = new Sandbox();
    traces = path.join(sandbox.directory, 'traces/of/mine');
    sandbox.write({ 'a.c': TYPED, '.env': 'PASSWORD=hunter2hunter2\n', 'k.c': `const char *key = "${KEY}";\n` });
    await withEngine(answering(TRUTH), async (engine) => {
        const client = await startServer({ sandbox, endpoint: engine.endpoint, args: ['--trace', traces] });
        try {
            await client.waitForStatus((status) => status.state === 'ready');
            assert.match(client.status.reason, /--trace/);
            const uri = client.open('a.c');
            assert.equal((await client.complete(uri, AT, { invoked: true }))[0].insertText, ' + second;');
            client.change(uri, { start: AT, end: AT }, ' ');
            await client.complete(uri, { line: 2, character: 17 }, { invoked: true });
            const env = client.open('.env');
            client.change(env, { start: { line: 1, character: 0 }, end: { line: 1, character: 0 } }, 'TOKEN=unsaved-words\n');
            assert.deepEqual(await client.complete(env, { line: 2, character: 0 }, { invoked: true }), []);
            client.open('k.c');
            await client.until(() => fs.readFileSync(path.join(traces, fs.readdirSync(traces)[0]), 'utf8').includes('char *key'), 'the trace of k.c');
            await client.shutdown();
            assert.match(client.stderr, /trace: .* keeps the text of documents/);
        } finally {
            await client.close();
        }
    });
    const names = fs.readdirSync(traces);
    assert.equal(names.length, 1);
    file = path.join(traces, names[0]);
});
after(() => sandbox.close());

test('a trace is its owner\'s alone: 0600 in 0700', () => {
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.equal(fs.statSync(traces).mode & 0o777, 0o700);
});

test('it has every message of both sides, in order of time', () => {
    const all = lines();
    const methods = all.filter((line) => line.from === 'client').map((line) => line.message.method);
    assert.equal(methods[0], 'initialize');
    assert.equal(methods.at(-1), 'exit');
    assert.equal(methods.filter((name) => name === 'textDocument/inlineCompletion').length, 3);
    const ids = all.filter((line) => line.message?.method && line.from === 'client' && 'id' in line.message).map((line) => line.message.id);
    const answered = all.filter((line) => line.from === 'server' && 'id' in line.message && !line.message.method).map((line) => line.message.id);
    assert.deepEqual(answered.toSorted(), ids.toSorted(), 'each question has its answer');
    const times = all.map((line) => line.ms);
    assert.deepEqual(times, times.toSorted((a, b) => a - b));
    const [document] = all.filter((line) => line.text?.uri.endsWith('/a.c'));
    assert.equal(document.text.text, TYPED);
});

test('of a document that no model may read it has lengths and hashes', () => {
    const text = fs.readFileSync(file, 'utf8');
    for (const secret of ['hunter2', 'unsaved-words', KEY]) assert.ok(!text.includes(secret), secret);
    const opened = lines().find((line) => line.message?.params?.textDocument?.uri?.endsWith('/.env'));
    const content = 'PASSWORD=hunter2hunter2\n';
    assert.deepEqual(opened.message.params.textDocument.text,
        { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') });
    assert.ok(!lines().some((line) => line.text?.uri.endsWith('/.env')));
    assert.match(text, /const char \*key = \\"\*{20}\\"/);
});

test('replay: the same answers are no difference', async () => {
    const { out, requests } = await replayed(TRUTH, '--json');
    const [session] = JSON.parse(out).sessions;
    assert.equal(session.file, file);
    assert.deepEqual(session.differences, []);
    const [row] = session.methods;
    // The .env is opened by nobody this time, so its question is one that got no answer.
    assert.deepEqual([row.method, row.asked, row.same, row.different, row.unanswered],
        ['textDocument/inlineCompletion', 3, 2, 0, 1]);
    assert.ok(row.now_ms_p50 > 0 && row.then_ms_p50 > 0);
    assert.ok(requests >= 1);
});

test('replay: other answers are told, place by place', async () => {
    const [session] = JSON.parse((await replayed(OTHER, '--json')).out).sessions;
    assert.ok(session.differences.length >= 1);
    const [first] = session.differences;
    assert.deepEqual([first.then[0].insertText, first.now[0].insertText], [' + second;', ' - second;']);
    assert.deepEqual(first.position, AT);
    const { out } = await replayed(OTHER);
    assert.match(out, /a\.c:3:17\n {4}then {2}\+ second;\n {4}now {3}- second;\n/);
    assert.match(out, /textDocument\/inlineCompletion +3 /);
});

test('replay changes nothing of what is replayed, nor its counters', async () => {
    const counters = path.join(sandbox.state, 'dbrx-ls/stats.jsonl');
    const was = [fs.readFileSync(counters), fs.readFileSync(file), fs.readFileSync(path.join(sandbox.work, 'a.c'))];
    await replayed(TRUTH);
    assert.deepEqual([fs.readFileSync(counters), fs.readFileSync(file), fs.readFileSync(path.join(sandbox.work, 'a.c'))], was);
});

test('a trace that was cut off is replayed as far as it goes; another file is refused with its line', async () => {
    const whole = fs.readFileSync(file, 'utf8'), own = path.join(sandbox.directory, 'cut.jsonl');
    const end = whole.indexOf('\n', whole.indexOf('inlineCompletion'));
    fs.writeFileSync(own, whole.slice(0, end + 20));
    await withEngine(answering(TRUTH), async (engine) => {
        const { code, out, err } = await run(['replay', own, '--json', '--endpoint', engine.endpoint]);
        assert.equal(code, 0, err);
        assert.equal(JSON.parse(out).sessions[0].cut, true);
        fs.writeFileSync(own, whole.replace(/\n.*\n/, '\nnonsense\n'));
        const refused = await run(['replay', own, '--endpoint', engine.endpoint]);
        assert.equal(refused.code, 1);
        assert.match(refused.err, /cut\.jsonl: line 2 is none of a trace/);
    });
});

for (const [args, code, message] of [
    [['replay'], 2, /expected one DIR or FILE/], [['replay', '/a', '/b'], 2, /expected one/],
    [['replay', '/no/such/place'], 1, /\/no\/such\/place/], [['replay', '.', '--speed', '0'], 2, /--speed/],
    [['replay', '.'], 2, /no trace \(\*\.jsonl\) lies there/],
    [['--trace', '/proc/no'], 1, /\/proc\/no/]])
    test(`${args.join(' ')}: one line`, () => {
        const done = spawnSync(program, args, { cwd: sandbox.work, env: sandbox.env(), encoding: 'utf8', input: '' });
        assert.equal(done.status, code, done.stderr);
        assert.match(done.stderr, message);
    });
