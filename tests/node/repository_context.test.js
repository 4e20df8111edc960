// What completions know of other files: the real server over stdio, its own indexer beside it, a
// repository on disk, and a scripted engine that keeps every prompt it got.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { positionOf } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { served } from './support/served.js';
import { decode, encode } from './support/vocabulary.js';

encode('warm');

const HEADER = `#ifndef BASKET_H
#define BASKET_H
struct basket {
    int apples_in_it;
    int pears_in_it;
};
int basket_weight_in_grams(const struct basket *b);
#endif
`;
const MAIN = `#include "lib/basket.h"

int main(void)
{
    struct basket b = {0, 0};

    return 0;
}
`;
const LIMIT_MS = 30000;

/** The text of the last prompt the engine got. */
const lastPrompt = (engine) => decode(engine.requests.at(-1).body.prompt);

/** Asks at changing places, as somebody does who types, until a prompt satisfies `test`. */
async function promptUntil(client, engine, uri, test, what) {
    const line = positionOf(client.text(uri), '0, 0};\n', { end: true }).line;
    const end = Date.now() + LIMIT_MS;
    for (let n = 0; ; n++) {
        const before = engine.requests.length;
        const length = client.text(uri).split('\n')[line].length;
        client.change(uri, { start: { line, character: 0 }, end: { line, character: length } },
            n % 2 ? '    b.' : '    b');
        await client.complete(uri, { line, character: client.text(uri).split('\n')[line].length },
            { invoked: true });
        if (engine.requests.length > before && test(lastPrompt(engine))) return lastPrompt(engine);
        if (Date.now() > end) assert.fail(`${what}: ${client.stderr}`);
        await sleep(100);
    }
}

function indexers(folder) {
    return fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
        try {
            const args = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
            return args.includes('--follow') && args.includes(folder);
        } catch {
            return false;
        }
    }).map(Number);
}

async function until(test, what) {
    for (const end = Date.now() + LIMIT_MS; !test();) {
        if (Date.now() > end) assert.fail(what);
        await sleep(50);
    }
}

/** A repository in a sandbox, a server in it, and the scripted engine. */
async function session(body, files = {}) {
    const sandbox = new Sandbox();
    sandbox.write({ 'lib/basket.h': HEADER, 'main.c': MAIN, ...files });
    const git = (...args) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b',
        '-c', 'init.defaultBranch=main', ...args], { cwd: sandbox.work, env: sandbox.env() });
    git('init', '-q');
    git('add', '.');
    git('commit', '-q', '-m', 'all');
    await served(sandbox, { script: '```' }, (there) => body({ ...there, git }));
}

test('definitions of other files come into the prompt', () =>
    session(async ({ client, engine }) => {
        const uri = client.open('main.c', MAIN);
        const has = (prompt) => prompt.includes('int pears_in_it;') &&
            prompt.includes('int basket_weight_in_grams(const struct basket *b)');
        const prompt = await promptUntil(client, engine, uri, has, 'no definition came');
        assert.match(prompt, /From lib\/basket\.h, lines 3 to 6:\n```c\nstruct basket \{/);
        // The excerpts stand in front of the file, so that typing leaves them in the cache.
        assert.ok(prompt.indexOf('From lib/basket.h') < prompt.indexOf('Above the gap:\n```c\n#include "lib'));
        const blocks = (await client.prompt(uri)).blocks;
        const excerpt = blocks.find((b) => b.kind === 'excerpt' && b.path === 'lib/basket.h');
        assert.ok(excerpt && excerpt.reason.length > 0 && excerpt.tokens > 0, JSON.stringify(blocks));
    }));

test('other excerpts are computed first, and no question gets them before', () =>
    session(async ({ client, engine }) => {
        const uri = client.open('main.c', MAIN);
        await until(() => engine.warms.some((r) => r.closedBy === 'engine'), 'what pays for more');
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'the first excerpts');
        const has = (request) => request.prompt.includes('int crate_seal_tight(int lid)');
        const { line } = positionOf(client.text(uri), '0, 0};\n', { end: true });
        const ask = async (text) => {
            const old = client.text(uri).split('\n')[line];
            client.change(uri, { start: { line, character: 0 }, end: { line, character: old.length } }, text);
            await client.complete(uri, { line, character: text.length }, { invoked: true });
            return engine.requests.at(-1);
        };
        const held = [];
        engine.options.warm = (request) => has(request) && new Promise((done) => { held.push(done); });
        // Asked with the change, so that what is gathered for it is there when the cursor rests.
        const askBoth = async () => {
            await ask('    b.');
            return ask('    crate_seal_tight(crate_weigh(crate_stack(');
        };
        for (const end = Date.now() + LIMIT_MS; held.length === 0;) {
            assert.ok(Date.now() < end, 'never computed');
            await askBoth();
            for (let i = 0; i < 10 && held.length === 0; i++) await sleep(100);
        }
        assert.ok(!has(await ask('    crate_seal_tight(crate_weigh(crate_stack(b')), 'not while they are computed');
        assert.ok(!engine.requests.some(has));
        engine.options.warm = undefined;
        held.forEach((done) => done());
        for (const end = Date.now() + LIMIT_MS; !has(await askBoth()); await sleep(500))
            assert.ok(Date.now() < end, 'never there');
    }, { 'far/crate.h': 'int crate_seal_tight(int lid);\nint crate_weigh(int crate);\nint crate_stack(int lid);\n' }));

test('a saved file is read again', () =>
    session(async ({ client, engine, sandbox }) => {
        const uri = client.open('main.c', MAIN);
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'first');
        const header = client.open('lib/basket.h', HEADER);
        const changed = HEADER.replace('int pears_in_it;', 'int plums_in_it;');
        fs.writeFileSync(path.join(sandbox.work, 'lib/basket.h'), changed);
        client.connection.sendNotification('textDocument/didSave', { textDocument: { uri: header } });
        await promptUntil(client, engine, uri,
            (p) => p.includes('int plums_in_it;') && !p.includes('int pears_in_it;'), 'changed');
    }));

test('what a diagnostic names comes into the prompt', () =>
    session(async ({ client, engine, sandbox }) => {
        const uri = client.open('main.c', MAIN);
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'first');
        assert.ok(!lastPrompt(engine).includes('crate_seal_tight'));
        const { line } = positionOf(client.text(uri), '0, 0};\n', { end: true });
        const range = { start: { line, character: 0 }, end: { line, character: 1 } };
        const actionsAt = (diagnostics) => client.connection.sendRequest('textDocument/codeAction',
            { textDocument: { uri }, range, context: { diagnostics, triggerKind: 2 } });
        await actionsAt([{ range, message: "call to undeclared function 'crate_seal_tight'",
            relatedInformation: [{ message: 'declared here', location: {
                uri: `file://${path.join(sandbox.work, 'far/note.h')}`, range } }] }]);
        await promptUntil(client, engine, uri, (p) => p.includes('int crate_seal_tight(int lid)') &&
            p.includes('#define LID_OF_NOTE 7'), 'what is reported');
        // The editor says that it is gone: it is not looked for any longer.
        await actionsAt([]);
    }, { 'far/crate.h': 'int crate_seal_tight(int lid);\n', 'far/note.h': '#define LID_OF_NOTE 7\n' }));

test('another branch shows its own definitions', () =>
    session(async ({ client, engine, sandbox, git }) => {
        git('checkout', '-q', '-b', 'other');
        sandbox.write({ 'lib/basket.h': HEADER.replace(/pears/g, 'quinces') });
        git('commit', '-q', '-a', '-m', 'quinces');
        git('checkout', '-q', 'main');
        const uri = client.open('main.c', MAIN);
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'main');
        git('checkout', '-q', 'other');
        await promptUntil(client, engine, uri,
            (p) => p.includes('int quinces_in_it;') && !p.includes('int pears_in_it;'), 'other');
    }));

test('secrets and ignored files never come', () =>
    session(async ({ client, engine }) => {
        const uri = client.open('main.c', MAIN);
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'first');
        for (let i = 0; i < 5; i++)
            await promptUntil(client, engine, uri, () => true, 'more');
        for (const request of engine.requests)
            assert.doesNotMatch(decode(request.body.prompt), /open-sesame|build_output/);
    }, {
        '.gitignore': 'out/\n',
        'lib/.env': 'struct basket open-sesame basket_weight_in_grams\n',
        'secrets.key': 'struct basket open-sesame\n',
        'out/basket.c': 'struct basket { int build_output; };\n',
    }));

/** The paths that the sandbox's index knows, as another program reads them. */
function pathsIndexed(sandbox) {
    const folder = path.join(sandbox.env().XDG_CACHE_HOME, 'dbrx-ls/index');
    return fs.readdirSync(folder).filter((name) => name.endsWith('.db')).flatMap((name) => {
        const database = new DatabaseSync(path.join(folder, name), { readOnly: true });
        try {
            return database.prepare('select path from files').all()
                .map((row) => Buffer.from(row.path).toString());
        } finally {
            database.close();
        }
    });
}

test('what the user excludes leaves the index, and comes back', () =>
    session(async ({ client, sandbox }) => {
        const exclude = (...patterns) => client.connection.sendNotification(
            'workspace/didChangeConfiguration', { settings: { dbrx: { exclude: patterns } } });
        const becomes = (...expected) => until(() => {
            try {
                return pathsIndexed(sandbox).sort().join() === expected.join();
            } catch {
                return false; // not there yet, or being written
            }
        }, `the index never held ${expected} alone`);
        await becomes('lib/basket.h', 'main.c');
        exclude('lib/*');
        await becomes('main.c');
        sandbox.write({ 'lib/more.h': 'int more;\n', 'more.c': 'int more;\n' });
        const [pid] = indexers(sandbox.work);
        process.kill(pid, 'SIGKILL'); // another one is started with the same patterns
        await until(() => indexers(sandbox.work).some((p) => p !== pid), 'it was not started again');
        await becomes('main.c', 'more.c');
        exclude();
        await becomes('lib/basket.h', 'lib/more.h', 'main.c', 'more.c');
    }));

test('the indexer ends with its editor, and is started again when it dies', () =>
    session(async ({ client, engine, sandbox }) => {
        await until(() => indexers(sandbox.work).length === 1, 'no indexer runs');
        const [pid] = indexers(sandbox.work);
        process.kill(pid, 'SIGKILL');
        await until(() => indexers(sandbox.work).some((p) => p !== pid), 'it was not started again');
        const uri = client.open('main.c', MAIN);
        await promptUntil(client, engine, uri, (p) => p.includes('int pears_in_it;'), 'after it');
        client.process.kill('SIGKILL');
        await until(() => indexers(sandbox.work).length === 0, 'it outlived its editor');
        client.shutdown = async () => {};
    }));

test('index --follow keeps an index up to date until its input ends', async () => {
    const sandbox = new Sandbox();
    sandbox.write({ 'a.c': 'int first_function(void) { return 1; }\n' });
    const child = spawn(program, ['index', '--follow', sandbox.work], { env: sandbox.env() });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (said += text));
    const lines = () => said.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    try {
        await until(() => lines().some((l) => l.state === 'ready'), 'never ready');
        assert.equal(lines()[0].state, 'indexing');
        assert.equal(lines().at(-1).files, 1);
        assert.ok(fs.existsSync(lines().at(-1).database));
        const n = lines().length;
        sandbox.write({ 'sub/b.c': 'int second_function(void) { return 2; }\n' });
        child.stdin.write(`nonsense\n\nchanged sub/b.c\nchanged ../../etc/passwd\nchanged ${'x'.repeat(9000)}\n`);
        await until(() => lines().length > n, 'the change was not seen');
        const found = execFileSync(program, ['index', '--find', 'second_function', sandbox.work],
            { env: sandbox.env(), encoding: 'utf8' });
        assert.match(found, /^sub\/b\.c:1: int second_function\(void\)/);
        child.stdin.write('exclude what is no JSON\n'); // in doubt everything
        await until(() => {
            try {
                return pathsIndexed(sandbox).length === 0;
            } catch {
                return false; // it is being written
            }
        }, 'something stayed');
        const ended = new Promise((resolve) => child.on('exit', resolve));
        child.stdin.end();
        assert.equal(await ended, 0);
    } finally {
        child.kill('SIGKILL');
        sandbox.close();
    }
});

test('a file in the home directory does not make all of that a project', async () => {
    const sandbox = new Sandbox();
    sandbox.write({ 'a.c': 'int a;\n', 'pro/d.c': 'int d;\n', 'project/b.c': 'int b;\n', 'project/sub/c.c': 'int c;\n' });
    try {
        for (const [home, folder, files] of [
            ['.', '.', 0], ['project', '.', 0], ['project/sub', '.', 0],
            ['.', 'project', 2], ['project', 'project/sub', 1], ['project', 'pro', 1],
        ]) {
            const [at, HOME] = [folder, home].map((name) => path.join(sandbox.work, name));
            const child = spawn(program, ['index', '--follow', at], { env: { ...sandbox.env(), HOME } });
            let said = '';
            child.stdout.setEncoding('utf8').on('data', (text) => (said += text));
            await until(() => said.includes('"ready"'), 'never ready');
            const ended = new Promise((resolve) => child.on('exit', resolve));
            child.stdin.end();
            assert.equal(await ended, 0);
            assert.equal(JSON.parse(said.trim().split('\n').at(-1)).files, files, `${home} ${folder}`);
        }
    } finally {
        sandbox.close();
    }
});

/** Three thousand files are indexed; what `command` speaks of is there before most of them. */
async function comesFirst(command, wanted) {
    const sandbox = new Sandbox();
    const files = {};
    for (let i = 0; i < 3000; i++)
        files[`a/${i % 50}/f${i}.c`] = Array.from({ length: 60 }, (_, k) => `int f${i}_${k}(int a) { return g${k}(a) + ${k}; }\n`).join('');
    sandbox.write({ ...files, 'z/open.c': '#include "wanted.h"\n', 'y/wanted.h': 'int wanted_here;\n', 'x/saved.c': 'int saved_here;\n' });
    const child = spawn(program, ['index', '--follow', sandbox.work], { env: sandbox.env() });
    child.stdout.resume();
    const indexed = () => {
        try {
            return pathsIndexed(sandbox);
        } catch {
            return []; // it is being written
        }
    };
    try {
        child.stdin.write(command(sandbox.work));
        await until(() => indexed().length > 2500 || indexed().includes(wanted), 'it never came');
        const paths = indexed();
        assert.ok(paths.includes(wanted), `${paths.length} files and not this one`);
    } finally {
        child.kill('SIGKILL');
        sandbox.close();
    }
}

test('an indexer ends with its editor, in the middle of a later update, too', async () => {
    const sandbox = new Sandbox();
    const write = (round) =>
        sandbox.write(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [
            `f${i}.c`,
            Array.from({ length: 60 }, (_, k) => `int f${i}_${k}(int a) { return ${round}; }\n`).join(''),
        ])));
    write(1);
    const { spawn } = await import('node:child_process');
    const child = spawn(program, ['index', '--follow', sandbox.work], { env: sandbox.env(), stdio: ['pipe', 'pipe', 'ignore'] });
    let said = '', code = null;
    child.on('exit', (status) => (code = status));
    child.stdout.setEncoding('utf8').on('data', (text) => (said += text));
    try {
        await until(() => /"ready"/.test(said), 'never ready');
        write(2);
        said = '';
        child.stdin.write('head\n');
        await until(() => /"indexing"/.test(said), 'it did not begin');
        child.stdin.end();
        await until(() => code !== null, 'it stayed');
        assert.equal(code, 0);
        assert.doesNotMatch(said, /"ready"/);
    } finally {
        child.kill('SIGKILL');
        sandbox.close();
    }
});

test('what is saved while everything is indexed does not wait for it', () =>
    comesFirst((at) => `changed ${path.join(at, 'x/saved.c')}\n`, 'x/saved.c'));

test('what is opened while everything is indexed does not wait for it', () => comesFirst(() => 'opened z/open.c\n', 'y/wanted.h'));
