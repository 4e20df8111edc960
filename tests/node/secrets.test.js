// Two hundred secrets planted where secrets lie: files, links, renames, blobs of a bare repository,
// unsaved text, addresses of remotes, names of branches, subjects of commits, what is staged. None of
// them may be found in a prompt of any kind, in a log, in a trace, or in any byte the program writes.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { run as commitMessage } from './support/committing.js';
import { startServer } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { decode, encode } from './support/vocabulary.js';

encode('warm');

let seed = 7;
/** mulberry32. */
function random(n) {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
}
const from = (letters, n) => Array.from({ length: n }, () => letters[random(letters.length)]).join('');
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const MIXED = `${LETTERS}0123456789`;
const HEX = '0123456789abcdef';

const planted = [];
/** A secret by its format; what must be found nowhere is the part that is random. */
function secret(kind) {
    const core = { aws: () => from('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 16) + '',
        hex: () => `${from(HEX, 15)}7a${from(HEX, 15)}`, word: () => `${from(LETTERS, 7)}4${from(MIXED, 4)}`,
        long: () => `a1B${from(MIXED, 61)}` }[kind === 'aws' || kind === 'hex' || kind === 'word' ? kind : 'long']();
    planted.push(core);
    const prefix = { aws: 'AKIA', github: 'ghp_', slack: 'xoxb-', stripe: 'sk_live_', google: 'AIza', npm: 'npm_' };
    return (prefix[kind] ?? '') + core;
}
const KEYS = ['github', 'slack', 'stripe', 'google', 'npm'];

const OPENABLE = {
    'a.py': (s) => `PASSWORD = "${s('word')}"\nclient = connect(token="${s('hex')}")\n# ${s('github')}\n`,
    'b.js': (s) => `const apiKey = '${s('hex')}';\nfetch(\`https://me:${s('word')}@host/x\`);\nuse("${s('stripe')}");\n`,
    'c.go': (s) => `package c\n\nvar clientSecret = "${s('word')}"\nvar key = "${s('aws')}"\n`,
    'd.c': (s) => `static const char *password = "${s('word')}";\n/* ${s('slack')} */\n`,
    'e.yaml': (s) => `db:\n  password: ${s('word')}\n  url: postgres://app:${s('word')}@db/x\n  token: ${s('hex')}\n`,
    'f.toml': (s) => `api_key = "${s('hex')}"\naccess_key = '${s('word')}'\n`,
    'g.md': (s) => `Run with ${s('npm')} or with\n\n    export SECRET=${s('word')}\n`,
    'h.sh': (s) => `export DB_PASSWORD=${s('word')}\ncurl -H "Authorization: Bearer ${s('hex')}" x\n`,
    'i.ts': (s) => `const blob = "${s('long')}";\nexport const pem = "-----BEGIN PRIVATE KEY-----\\n${s('long')}\\n-----END PRIVATE KEY-----";\n`,
    'j.txt': (s) => `-----BEGIN RSA PRIVATE KEY-----\n${s('long')}\n${s('long')}\n-----END RSA PRIVATE KEY-----\n`,
};
const BY_NAME = ['.env', '.env.local', 'id_rsa', 'tls.key', 'x.pem', 'credentials.json', '.npmrc', '.netrc',
    'secrets.yaml', 'prod.env', 'my-credentials.json', 'terraform.tfstate', 'vault.kdbx', '.pypirc'];

function plantFiles(sandbox) {
    for (let round = 0; round < 4; round++)
        for (const [name, make] of Object.entries(OPENABLE))
            sandbox.write({ [`${round}/${name}`]: `${make(secret)}\n` });
    for (let i = 0; i < 40; i++) {
        const name = BY_NAME[i % BY_NAME.length];
        sandbox.write({ [`n${Math.floor(i / BY_NAME.length)}/${name}`]: `some text and ${secret('word')} in it\n` });
    }
}

function plantLinks(sandbox, outside) {
    for (let i = 0; i < 10; i++) {
        fs.writeFileSync(path.join(outside, `o${i}`), `text ${secret('word')} text\n`);
        fs.symlinkSync(path.join(outside, `o${i}`), path.join(sandbox.work, `innocent${i}.txt`));
    }
}

function plantHistory(sandbox, git) {
    for (let i = 0; i < 10; i++) sandbox.write({ [`r${i}/.env`]: `API_TOKEN=${secret('hex')}\n` });
    git('add', '-Af');
    git('commit', '-q', '-m', 'all');
    for (let i = 0; i < 10; i++) git('mv', `r${i}/.env`, `r${i}/plain.conf`);
    for (let i = 0; i < 10; i++) {
        git('commit', '-q', '--allow-empty', '-m', `use ${secret(KEYS[i % 5])} for now`);
        git('branch', `fix/${secret(KEYS[i % 5])}`);
        git('remote', 'add', `r${i}`, `https://bot:${secret('word')}@host/x.git`);
    }
    git('checkout', '-q', '-b', `mine/${secret('github')}`);
}

function assertClean(bytes, what) {
    for (const core of planted) {
        const at = bytes.indexOf(core);
        assert.equal(at, -1, `${what}: ...${bytes.slice(Math.max(0, at - 60), at + 60)}...`);
    }
}

/** All files the program wrote: databases, counters, logs. */
function written(sandbox) {
    const places = [path.join(sandbox.directory, 'trace'), sandbox.cache, sandbox.state, sandbox.runtime, sandbox.config, sandbox.home];
    return places.flatMap((place) => fs.readdirSync(place, { recursive: true }).map((file) => path.join(place, file)))
        .filter((file) => fs.lstatSync(file).isFile());
}

function assertPromptsClean(engine, least) {
    const prompts = engine.requests.filter((request) => request.body?.prompt);
    assert.ok(prompts.length >= least, `${prompts.length} prompts; ${refusals}`);
    for (const request of prompts) assertClean(decode(request.body.prompt), 'a prompt');
    engine.requests.length = 0;
}

const refusals = [];
/** Every action on the whole of a document; what comes of it does not matter. */
async function act(client, uri, text) {
    const range = { start: { line: 0, character: 0 }, end: { line: text.split('\n').length - 1, character: 0 } };
    for (const command of ['explain', 'fix', 'simplify', 'document', 'tests'])
        await client.connection.sendRequest('workspace/executeCommand',
            { command: `dbrx-ls.${command}`, arguments: [{ textDocument: { uri }, range }] }).catch((error) => refusals.push(error.message));
}

/** Places of a file at which a prompt shows its text: the end of every third line. */
function places(file) {
    const lines = fs.readFileSync(file, 'utf8').split('\n');
    return lines.map((line, i) => `${file}:${i + 1}:${line.length + 1}`).filter((_, i) => i % 2 === 0);
}

test('no secret is in a prompt, a log, a trace or an index', async () => {
    const sandbox = new Sandbox();
    const outside = fs.mkdtempSync(path.join(sandbox.directory, 'outside-'));
    const engine = await startScriptedEngine({ script: '```' });
    let client = null;
    const git = (...args) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b',
        '-c', 'init.defaultBranch=main', ...args], { cwd: sandbox.work, env: sandbox.env() });
    const run = (args, input = '') => spawnSync(program, args,
        { cwd: sandbox.work, env: sandbox.env({ DBRX_LOG: 'debug' }), input });
    try {
        git('init', '-q');
        plantFiles(sandbox);
        plantLinks(sandbox, outside);
        plantHistory(sandbox, git);
        git('clone', '-q', '--bare', '.', path.join(outside, 'bare.git'));
        for (const where of ['.', path.join(outside, 'bare.git')])
            for (const args of [['--json'], ['--map'], ['--json', '--map', '--together', '0/a.py']]) {
                const said = run(['index', where, ...args]);
                assert.equal(said.status, 0, said.stderr.toString());
                assertClean(said.stdout.toString() + said.stderr.toString(), `index ${args}`);
            }
        const files = Object.keys(OPENABLE).flatMap((name) => [0, 1, 2, 3].map((n) => `${n}/${name}`));
        const batch = files.concat([0, 3].map((i) => `r${i}/plain.conf`))
            .flatMap((name) => places(path.join(sandbox.work, name)));
        const said = run(['prompt', '--batch'], `${batch.join('\n')}\n`);
        assert.equal(said.stdout.toString().split('\n').length, batch.length + 1);
        assertClean(said.stdout.toString() + said.stderr.toString(), 'prompt --batch');

        for (let i = 0; i < 4; i++) sandbox.write({ [`staged${i}.py`]: `password = "${secret('word')}"\n# ${secret(KEYS[i])}\n` });
        sandbox.write({ '.gitmessage': `Tell why.\n\npassword = "${secret('word')}"\n` });
        git('config', 'commit.template', '.gitmessage');
        git('add', '-A');
        const { code, stderr } = await commitMessage(sandbox, engine, []);
        assert.ok([0, 1].includes(code), stderr);
        assertClean(stderr, 'the log of commit-message');
        assertPromptsClean(engine, 1);

        const trace = path.join(sandbox.directory, 'trace');
        fs.mkdirSync(trace, { mode: 0o700 });
        const workspace = { applyEdit: true, workspaceEdit: { documentChanges: true, resourceOperations: ['create'] } };
        client = await startServer({ endpoint: engine.endpoint, sandbox, env: { DBRX_LOG: 'debug' },
            capabilities: { workspace }, args: ['--trace', trace] });
        await client.waitForStatus((s) => ['ready', 'degraded'].includes(s.state));
        const traces = [];
        client.connection.onNotification('$/logTrace', (params) => traces.push(params));
        await client.connection.sendNotification('$/setTrace', { value: 'verbose' });
        for (let i = 0; i < 10; i++) {
            const name = `unsaved${i}.py`;
            const text = `# ${secret(KEYS[i % 5])}\npassword = "${secret('word')}"\nx = \n`;
            const uri = client.open(name, text);
            await client.complete(uri, { line: 2, character: 4 }, { invoked: true });
            if (i === 0) await act(client, uri, text);
        }
        assertPromptsClean(engine, 12);
        for (const [name, make] of Object.entries(OPENABLE)) {
            const text = make(secret);
            await act(client, client.open(`acted/${name}`, text), text);
        }
        assertPromptsClean(engine, 10);
        await client.shutdown();
        assertClean(client.stderr, 'the log');
        assert.ok(traces.length > 10);
        assertClean(JSON.stringify([traces, client.statuses, client.messages, client.logs]), 'the trace');
        const found = written(sandbox);
        assert.ok(found.some((file) => file.endsWith('.db')) && fs.readdirSync(trace).length === 1);
        for (const file of found) assertClean(fs.readFileSync(file, 'latin1'), file);
        assert.ok(planted.length >= 200, `${planted.length} secrets`);
    } finally {
        await client?.close();
        await engine.close();
        sandbox.close();
    }
});
