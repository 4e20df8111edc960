// Which open files no model sees: by git attributes, by links to secrets, by the user's patterns as
// they are now. The real server, its processes, a repository, and an engine that keeps every prompt.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { positionOf } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { served } from './support/served.js';
import { decode, encode } from './support/vocabulary.js';

encode('warm');

const CODE = 'int ordinary_name(void)\n{\n    return \n}\n';
const PRIVATE = 'int marked_private(void)\n{\n    return \n}\n';

async function session(files, body, options = {}) {
    const sandbox = new Sandbox();
    sandbox.write(files);
    execFileSync('git', ['init', '-q'], { cwd: sandbox.work, env: sandbox.env() });
    await served(sandbox, { script: ' 0;\n```', ...options }, body);
}

const ask = (client, uri) =>
    client.complete(uri, positionOf(client.text(uri), 'return ', { end: true }), { invoked: true });
const seen = (engine) => engine.requests.map((r) => decode(r.body.prompt)).join('\n');

async function actions(client, uri) {
    const range = { start: { line: 0, character: 0 }, end: { line: 2, character: 0 } };
    return client.connection.sendRequest('textDocument/codeAction',
        { textDocument: { uri }, range, context: { diagnostics: [], triggerKind: 1 } });
}

test('an open file with the attribute -dbrx is in no prompt, and the status says why', () =>
    session({ '.gitattributes': 'private/** -dbrx\n', 'private/x.c': PRIVATE, 'a.c': CODE },
        async ({ client, engine }) => {
            const open = client.open('a.c', CODE);
            assert.equal((await ask(client, open)).length, 1);
            const uri = client.open('private/x.c', PRIVATE);
            assert.deepEqual(await ask(client, uri), []);
            assert.deepEqual(await actions(client, uri), []);
            await client.waitForStatus((s) => /-dbrx/.test(s.reason));
            await assert.rejects(client.connection.sendRequest('workspace/executeCommand', {
                command: 'dbrx-ls.explain',
                arguments: [{ textDocument: { uri }, range: { start: { line: 0, character: 0 },
                    end: { line: 2, character: 0 } } }] }), /-dbrx/);
            const unsaved = client.open('private/not_there_yet/y.c', PRIVATE);
            assert.deepEqual(await ask(client, unsaved), []);
            assert.doesNotMatch(seen(engine), /marked_private/);
        }));

test('attributes that change while a file is open hold from then on', () =>
    session({ 'x.c': PRIVATE, '.gitattributes': '' }, async ({ client, engine, sandbox }) => {
        const uri = client.open('x.c', PRIVATE);
        assert.equal((await ask(client, uri)).length, 1);
        const attributes = client.open('.gitattributes', '', 'plaintext');
        assert.notEqual(await actions(client, attributes), null); // it is judged, too
        sandbox.write({ '.gitattributes': 'x.c -dbrx\n' });
        await client.connection.sendNotification('textDocument/didSave', { textDocument: { uri: attributes } });
        await client.waitForStatus((s) => /-dbrx/.test(s.reason));
        const n = engine.requests.length;
        assert.deepEqual(await ask(client, uri), []);
        assert.equal(engine.requests.length, n);
    }));

test('attributes that another program changes hold for open files', () =>
    session({ 'x.c': PRIVATE, '.gitattributes': '' }, async ({ client, engine, sandbox }) => {
        const git = (...args) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args],
            { cwd: sandbox.work, env: sandbox.env() });
        git('add', '-A');
        git('commit', '-q', '-m', 'open to all');
        git('checkout', '-q', '-b', 'closed');
        sandbox.write({ '.gitattributes': 'x.c -dbrx\n' });
        git('commit', '-q', '-a', '-m', 'closed');
        git('checkout', '-q', '-');
        const uri = client.open('x.c', PRIVATE);
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer');
        await client.until(() => fs.existsSync(path.join(sandbox.directory, 'cache')) &&
            /marked_private/.test(rows(sandbox)), 'an index');
        git('checkout', '-q', 'closed');
        await client.waitForStatus((s) => /-dbrx/.test(s.reason));
        const n = engine.requests.length;
        assert.deepEqual(await ask(client, uri), []);
        assert.equal(engine.requests.length, n);
        git('checkout', '-q', '-');
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer again');
    }));

test('a link to a secret is a secret', () =>
    session({ '.env': 'PLAIN=sesame_opens\n' }, async ({ client, engine, sandbox }) => {
        fs.symlinkSync('.env', path.join(sandbox.work, 'notes.txt'));
        const content = 'PLAIN=sesame_opens\nreturn \n';
        const uri = client.open('notes.txt', content, 'plaintext');
        assert.deepEqual(await ask(client, uri), []);
        assert.doesNotMatch(seen(engine), /sesame_opens/);
    }));

const whole = (text) => ({ start: { line: 0, character: 0 }, end: { line: text.split('\n').length, character: 0 } });
const SESAME = 'PLAIN=sesame_opens\nreturn \n';

/** `name` leads to the secret from now on. */
function lead(sandbox, name, to) {
    fs.rmSync(path.join(sandbox.work, name), { force: true });
    fs.symlinkSync(to, path.join(sandbox.work, name));
}

test('a link that leads to a secret from now on is one, whatever changes in the text', () =>
    session({ 'a.c': CODE, '.env': 'PLAIN=sesame_opens\n' }, async ({ client, engine, sandbox }) => {
        lead(sandbox, 'link.c', 'a.c');
        const uri = client.open('link.c', CODE);
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer');
        lead(sandbox, 'link.c', '.env');
        client.change(uri, { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } }, 'PLAIN=sesame_opens\n');
        assert.deepEqual(await ask(client, uri), []);
        assert.doesNotMatch(seen(engine), /sesame_opens/);
        await client.until(() => client.statuses.some((s) => /link/.test(s.reason)), 'the reason');
    }));

test('keys do not ask where a link leads, pastes do; one upon another, they are waited for', () =>
    session({ 'a.c': CODE, '.env': 'PLAIN=sesame_opens\n' }, async ({ client, sandbox }) => {
        const top = { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };
        lead(sandbox, 'link.c', 'a.c');
        const uri = client.open('link.c', CODE);
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer');
        for (let i = 0; i < 5; i++) { // the second comes while the first is looked at
            const held = [1, 2].map(() => {
                client.change(uri, top, 'int a_line_that_was_pasted;\n');
                return ask(client, uri).catch(() => []);
            });
            assert.equal((await Promise.all(held))[1].length, 1);
        }
        lead(sandbox, 'link.c', '.env');
        client.change(uri, top, '/');
        client.change(uri, top, '/');
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer to keys');
        client.change(uri, top, 'int one_more_line_that_was_pasted;\n');
        assert.deepEqual(await ask(client, uri), []);
    }));

test('a file that becomes a link to a secret is one when its text is another', () =>
    session({ 'a.c': CODE, '.env': 'PLAIN=sesame_opens\n' }, async ({ client, engine, sandbox }) => {
        const uri = client.open('a.c', CODE);
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer');
        lead(sandbox, 'a.c', '.env');
        client.change(uri, whole(CODE), SESAME);
        assert.deepEqual(await ask(client, uri), []);
        assert.doesNotMatch(seen(engine), /sesame_opens/);
    }));

test('links that another program leads elsewhere are looked at with everything else', () =>
    session({ 'a.c': CODE, '.env': 'PLAIN=sesame_opens\n' }, async ({ client, sandbox }) => {
        lead(sandbox, 'link.c', 'a.c');
        const uri = client.open('link.c', CODE);
        await client.until(async () => (await ask(client, uri)).length === 1, 'an answer');
        await client.until(() => /ordinary_name/.test(rows(sandbox)), 'an index');
        lead(sandbox, 'link.c', '.env');
        fs.appendFileSync(path.join(sandbox.work, '.git/config'), '\n'); // so that it looks now
        await client.until(() => client.statuses.some((s) => /link/.test(s.reason)), 'the reason');
        assert.deepEqual(await ask(client, uri), []);
    }));

test('attributes that cannot be read keep the file from models', () =>
    session({ 'deep/x.c': PRIVATE }, async ({ client, engine, sandbox }) => {
        fs.mkdirSync(path.join(sandbox.work, '.git/info'), { recursive: true });
        fs.rmSync(path.join(sandbox.work, '.git/info/attributes'), { force: true });
        execFileSync('mkfifo', [path.join(sandbox.work, 'deep/.gitattributes')]);
        const uri = client.open('deep/x.c', PRIVATE);
        assert.deepEqual(await ask(client, uri), []);
        await client.waitForStatus((s) => /cannot be read|-dbrx/.test(s.reason));
        assert.doesNotMatch(seen(engine), /marked_private/);
    }));

/** Names of all definitions in all databases of the sandbox, read by another program. */
function rows(sandbox) {
    const script = `import sqlite3, sys, pathlib
for f in pathlib.Path(sys.argv[1]).rglob("*.db"):
    try:
        print([r[0] for r in sqlite3.connect(f"file:{f}?mode=ro", uri=True).execute("SELECT name FROM symbols")])
    except sqlite3.OperationalError: pass`;
    return spawnSync('python3', ['-c', script, sandbox.directory], { encoding: 'utf8' }).stdout;
}

test('the setting "exclude" reaches the index, also when it changes', () =>
    session({ 'a.c': CODE, 'hidden/x.c': PRIVATE.replaceAll('marked_private', 'hidden_at_first'),
        'later/y.c': PRIVATE.replaceAll('marked_private', 'hidden_in_time') }, async ({ client, sandbox }) => {
        await client.until(() => /ordinary_name.*hidden_in_time|hidden_in_time.*ordinary_name/.test(rows(sandbox)), 'an index');
        assert.doesNotMatch(rows(sandbox), /hidden_at_first/);
        await client.connection.sendNotification('workspace/didChangeConfiguration',
            { settings: { dbrx: { exclude: ['hidden/*', 'later/*'] } } });
        await client.until(() => !/hidden_in_time/.test(rows(sandbox)), 'the row to go');
        assert.match(rows(sandbox), /ordinary_name/);
        assert.doesNotMatch(rows(sandbox), /hidden_at_first/);
        const uri = client.open('later/y.c', PRIVATE);
        assert.deepEqual(await ask(client, uri), []);
        await client.connection.sendNotification('workspace/didChangeConfiguration',
            { settings: { dbrx: { exclude: ['hidden/*'] } } });
        await client.until(() => /hidden_in_time/.test(rows(sandbox)), 'the row to come back');
    }, { settings: { exclude: ['hidden/*'] } }));

test('the command line refuses the same files', () => {
    const sandbox = new Sandbox();
    try {
        sandbox.write({ '.gitattributes': '*.c -dbrx\n', 'x.c': PRIVATE, 'a.h': CODE });
        execFileSync('git', ['init', '-q'], { cwd: sandbox.work, env: sandbox.env() });
        const run = (...args) => spawnSync(program, args, { cwd: sandbox.work, env: sandbox.env(), encoding: 'utf8' });
        for (const args of [['prompt', 'x.c:3:12'], ['complete', 'x.c:3:12'], ['explain', 'x.c:1-3'], ['index', '--judge', 'x.c']]) {
            const said = run(...args);
            assert.equal(said.status, 1, args.join(' '));
            assert.match(said.stderr, /the git attribute -dbrx excludes it/);
            assert.doesNotMatch(said.stdout, /marked_private/);
        }
        assert.equal(run('index', '--judge', 'a.h').status, 0);
        assert.equal(run('prompt', 'a.h:3:12').status, 0);
    } finally {
        sandbox.close();
    }
});
