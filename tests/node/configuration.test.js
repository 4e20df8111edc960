// config.json of the user (and of the machine: tests/unit/test_configuration.c), as commands and the
// language server take it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { startServer } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { makeTinyModel } from './support/tiny_model.js';

const TRUTH = 'int add(int first, int second)\n{\n    return first + second;\n}\n';
const TYPED = TRUTH.replace(' + second;', '');
const AT = { line: 2, character: 16 };
const SAID = { script: oracle({ 'a.c': TRUTH, 'b.c': TRUTH }, { lines: 1 }), key: 'from-the-file' };

let sandbox, file, model;

before(() => {
    sandbox = new Sandbox();
    model = makeTinyModel(path.join(sandbox.directory, 'tiny'));
    sandbox.write({ 'a.c': TYPED, 'b.c': TYPED });
    file = path.join(sandbox.config, 'dbrx-ls/config.json');
    fs.mkdirSync(path.dirname(file));
});
after(() => sandbox.close());
beforeEach(() => configure({}));

/** What the user's file says from now on: an object, or its text. */
function configure(content, mode = 0o600) {
    fs.writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    fs.chmodSync(file, mode);
}

function run(args, env = {}) {
    const child = spawn(program, args, { cwd: sandbox.work, env: sandbox.env(env) });
    const result = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (text) => { result.out += text; });
    child.stderr.setEncoding('utf8').on('data', (text) => { result.err += text; });
    return new Promise((resolve) => {
        child.on('close', (code) => resolve({ ...result, code }));
    });
}

async function withEngine(body) {
    const engine = await startScriptedEngine(SAID);
    try {
        await body(engine);
    } finally {
        await engine.close();
    }
}

async function rowsOf(args, env) {
    const { out } = await run(['doctor', '--json', ...args], env);
    return Object.fromEntries(JSON.parse(out).rows.map((row) => [row.name, row]));
}

test('commands take engine and key from it; doctor names it', () => withEngine(async (engine) => {
    configure({ endpoint: engine.endpoint, apiKey: 'from-the-file' });
    const { code, out, err } = await run(['complete', 'a.c:3:17', '--json', '--file-alone']);
    assert.equal(code, 0, err);
    assert.equal(JSON.parse(out).items[0].text, ' + second;');
    const rows = await rowsOf([]);
    assert.deepEqual([rows.endpoint.value, rows.endpoint.source], [engine.endpoint, file]);
    assert.deepEqual([rows['API key'].value, rows['API key'].source], ['set', file]);
    assert.equal(rows.engine.verdict, 'ok');
}));

test('environment and flags go before it, and the level that names a model or an endpoint decides both', async () => {
    configure({ endpoint: 'unix:/of/the/file', threads: 3, backend: 'reference' });
    const environment = await rowsOf([], { DBRX_MODEL: model });
    assert.match(environment.endpoint.value, /^none/);
    assert.deepEqual([environment.model.value, environment.model.source], [model, 'environment']);
    assert.deepEqual([environment.threads.value, environment.threads.source], ['3', file]);
    const flags = await rowsOf(['--endpoint', 'unix:/flag', '--backend', 'cpu'], { DBRX_ENDPOINT: 'unix:/environment' });
    assert.deepEqual([flags.endpoint.value, flags.endpoint.source], ['unix:/flag', 'flag']);
    assert.deepEqual([flags.backend.value, flags.backend.source], ['cpu', 'flag']);
    assert.equal(flags['CA file'].source, 'default');
});

test('the engine, prompts and logits take its model', async () => {
    configure({ model: '/no/such/model' });
    for (const args of [['serve', '--idle', '1'], ['prompt', 'a.c:1:1'], ['logits', '--tokens', '1']]) {
        const { code, err } = await run(args);
        assert.notEqual(code, 0);
        assert.match(err, /\/no\/such\/model/);
    }
    assert.equal((await run(['logits', '--tokens', '1,2', '--json'], { DBRX_MODEL: model })).code, 0);
});

test('what it excludes stays out of prompts and of the index, whatever the environment adds', async () => {
    sandbox.write({ 'own/secret_plan.c': 'int planned_secret(void) { return 1; }\n',
        'own/open.c': 'int open_thing(void) { return 1; }\n', 'own/else.c': 'int else_thing(void) { return 1; }\n' });
    configure({ exclude: ['secret_*'] });
    const find = async (name) => (await run(['index', 'own', '--find', name], { DBRX_EXCLUDE: 'else.c' })).out;
    assert.match(await find('open_thing'), /open\.c/);
    assert.doesNotMatch(await find('planned_secret'), /secret_plan/);
    assert.doesNotMatch(await find('else_thing'), /else\.c/);
    const judged = await run(['index', '--judge', 'own/secret_plan.c']);
    assert.equal(judged.code, 1, judged.err);
});

const FAULTY = [
    ['{"endpont": "unix:/x"}', /config\.json: "endpont" is no setting here/],
    ['{"status": true}', /"status" is no setting here/],
    ['{"threads": 0}', /threads: expected a number from 1 to 1024/],
    ['{"endpoint": ["unix:/x"]}', /endpoint: expected a text/],
    ['{"exclude": [1]}', /exclude: expected an array of texts/],
    ['{"warm": 1}', /warm: expected true or false/],
    ['{"model": "models/dbrx"}', /model: found "models\/dbrx", expected an absolute path/],
    ['{"threads": 1, "threads": 2}', /config\.json: line 1: /],
    ['{"endpoint": "unix:/x"', /config\.json: line 1: /],
    ['[]', /config\.json: expected an object/],
    ['\u0000', /config\.json: line 1: /],
    [' '.repeat(65537), /config\.json/],
];
for (const [content, message] of FAULTY)
    test(`a file that says ${JSON.stringify(content.slice(0, 40))} stops every command`, async () => {
        configure(content);
        for (const args of [['complete', 'a.c:3:17', '--model', model], ['index', '.'], ['prompt', 'a.c:1:1'], ['serve']]) {
            const { code, out, err } = await run(args);
            assert.equal(code, 1, args[0]);
            assert.match(err, message);
            assert.equal(err.trim().split('\n').length, 1);
            assert.equal(out, '');
        }
        const { configuration } = await rowsOf([]);
        assert.equal(configuration.verdict, 'fail');
        assert.match(configuration.value, message);
    });

test('who may write or read it', async () => {
    const refused = async (content, mode) => {
        configure(content, mode);
        return (await rowsOf([])).configuration?.value;
    };
    assert.match(await refused({}, 0o602), /everybody may write it/);
    assert.match(await refused({ apiKey: 'k' }, 0o644), /apiKey: everybody may read it/);
    assert.equal(await refused({ threads: 2 }, 0o644), undefined);
    assert.equal(await refused({ apiKey: 'k' }, 0o640), undefined);
});

/** A server in the sandbox, with what it was told last. */
async function served(options, body) {
    const client = await startServer({ sandbox, ...options });
    try {
        await body(client);
        await client.shutdown();
        assert.deepEqual(client.messages, [], 'nothing pops up');
    } finally {
        await client.close();
    }
}

test('the language server: engine and taste from it, the client\'s own options before it', () => withEngine(async (engine) => {
    configure({ endpoint: engine.endpoint, apiKey: 'from-the-file', languages: ['python'], exclude: ['b.*'] });
    const ready = (status) => status.state === 'ready';
    await served({}, async (client) => {
        await client.waitForStatus(ready);
        const uri = client.open('a.c');
        assert.deepEqual(await client.complete(uri, AT, { invoked: true }), [], 'not among its languages');
    });
    await served({ settings: { languages: ['c'] } }, async (client) => {
        await client.waitForStatus(ready);
        const uri = client.open('a.c');
        assert.equal((await client.complete(uri, AT, { invoked: true }))[0].insertText, ' + second;');
        const other = client.open('b.c');
        assert.deepEqual(await client.complete(other, AT, { invoked: true }), [], 'nobody lets in what the file excludes');
    });
    await served({ settings: { endpoint: 'unix:/no/such/socket' } }, async (client) => {
        await client.waitForStatus((status) => status.state === 'off' && /no\/such\/socket/.test(status.reason));
    });
}));

test('a client gives no key: it would stand in a file of the workspace', async () => {
    await served({ model, settings: { apiKey: 'k' } }, async (client) => {
        await client.waitForStatus((status) => /settings not taken: apiKey/.test(status.reason));
    });
});

test('the language server with a faulty file: off, told why, and no engine is used', () => withEngine(async (engine) => {
    const own = new Sandbox();
    try {
        own.write({ 'a.c': TYPED });
        fs.mkdirSync(path.join(own.config, 'dbrx-ls'));
        fs.writeFileSync(path.join(own.config, 'dbrx-ls/config.json'), '{"endpont": "unix:/x"}');
        for (const from of [{ model }, { endpoint: engine.endpoint, env: { DBRX_API_KEY: 'from-the-file' } }])
            await served({ sandbox: own, ...from }, async (client) => {
                await client.waitForStatus((status) => status.state === 'off' && /"endpont" is no setting here/.test(status.reason), 10000);
                const uri = client.open('a.c');
                assert.deepEqual(await client.complete(uri, AT, { invoked: true }), []);
                assert.equal(own.enginePid(), null);
            });
        assert.equal(engine.requests.length, 0);
    } finally {
        own.close();
    }
}));
