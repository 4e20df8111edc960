// What is learnt from an editor about its suggestions, and `dbrx-ls stats`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { after, FILES, HEALING, says, session, shown, upTo } from './support/completing.js';
import { startServer } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';

const line = oracle(FILES, { lines: 1 });
const zeros = { typed: 0, accepted: 0, accepted_partly: 0, rejected: 0 };

function stats(sandbox, ...args) {
    return execFileSync(program, ['stats', ...args], { env: sandbox.env(), encoding: 'utf8' });
}

/** Shows " + second;" behind "return first", lets `act` happen, and gives what was counted. */
async function counted(act, engine = { script: line, handshake: HEALING }) {
    const sandbox = new Sandbox();
    try {
        await session({ engine, sandbox }, async (client, scripted) => {
            const { text, position } = upTo('return first');
            const uri = client.open('a.c', text);
            const item = await shown(client, uri, position);
            assert.equal(item.insertText, ' + second;');
            await act({ client, uri, position, item, scripted });
        });
        return JSON.parse(stats(sandbox, '--json')).counters;
    } finally {
        sandbox.close();
    }
}

const rows = [
    ['typed key by key', ({ client, uri, position }) => {
        client.type(uri, position, ' + second;');
    }, { typed: 1 }],
    ['taken over at once', ({ client, uri, position, item }) => {
        client.change(uri, { start: position, end: position }, item.insertText);
    }, { accepted: 1, accepted_bytes: 10 }],
    ['typed a little, then taken over', ({ client, uri, position }) => {
        const at = client.type(uri, position, ' + ');
        client.change(uri, { start: at, end: at }, 'second;');
    }, { accepted: 1, accepted_bytes: 7 }],
    ['a word of it taken over, and the rest', ({ client, uri, position }) => {
        client.change(uri, { start: position, end: position }, ' + second');
        client.type(uri, after(position, 9), ';');
    }, { accepted_partly: 1, typed: 1, accepted_bytes: 9 }],
    ['something else typed', ({ client, uri, position }) => {
        client.type(uri, position, ' - 1;');
    }, { rejected: 1 }],
    ['nothing', () => {}, {}],
    ['the last character, and the editor says it was taken', async ({ client, uri, position, item }) => {
        client.type(uri, position, ' + second;');
        await client.connection.sendRequest('workspace/executeCommand', item.command);
    }, { accepted: 1 }],
    ['taken over, and the editor says so too', async ({ client, uri, position, item }) => {
        client.change(uri, { start: position, end: position }, item.insertText);
        await client.connection.sendRequest('workspace/executeCommand', item.command);
        await client.connection.sendRequest('workspace/executeCommand', item.command);
    }, { accepted: 1, accepted_bytes: 10 }],
];

for (const [name, act, expected] of rows) {
    test(`counted: ${name}`, async () => {
        const found = await counted(act);
        const wanted = { ...zeros, shown: 1, ...expected };
        assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((key) => [key, found[key]])), wanted);
    });
}

test('another candidate taken over is no rejection', async () => {
    const engine = { script: line, handshake: HEALING, alternates: [' - second;\n```'] };
    const found = await counted(async ({ client, uri, position }) => {
        const items = await client.complete(uri, position, { invoked: true });
        assert.equal(items.length, 2);
        client.change(uri, { start: position, end: position }, items[1].insertText);
    }, engine);
    assert.equal(found.rejected, 0);
    assert.equal(found.accepted, 1);
});

test('an accepted line is followed by as many as belong there', async () => {
    await session({ engine: { script: line, handshake: HEALING } }, async (client, engine) => {
        const { text, position } = upTo('int sum = add');
        const uri = client.open('a.c', text.replace(/ {4}printf.*\n {4}return sum;\n/, ''));
        const item = await shown(client, uri, position);
        client.change(uri, { start: position, end: position }, item.insertText);
        const end = after(position, item.insertText.length);
        client.change(uri, { start: end, end }, '\n    ');
        engine.script = says('a();\n    b();\n```');
        const next = { line: position.line + 1, character: 4 };
        assert.equal((await shown(client, uri, next)).insertText, 'a();\n    b();');
    });
});

test('statistics of several fronts add up, broken lines are left out, the file is private', async () => {
    const sandbox = new Sandbox();
    try {
        assert.match(stats(sandbox), /nothing was counted/);
        for (const n of [1, 2]) {
            await session({ engine: { script: line }, sandbox }, async (client) => {
                const { text, position } = upTo('return first');
                await shown(client, client.open('a.c', text), position);
            });
            assert.equal(JSON.parse(stats(sandbox, '--json')).counters.shown, n);
        }
        const file = path.join(sandbox.env().XDG_STATE_HOME, 'dbrx-ls', 'stats.jsonl');
        assert.equal(fs.statSync(file).mode & 0o777, 0o600);
        const kept = fs.readFileSync(file, 'utf8');
        assert.ok(!/return|first|a\.c/.test(kept), 'numbers only');
        fs.appendFileSync(file, '{"time":1,"coun\n\0\xff\n');
        assert.equal(JSON.parse(stats(sandbox, '--json')).counters.shown, 2);
        assert.match(stats(sandbox), /accepted/);
    } finally {
        sandbox.close();
    }
});

test('a command that nobody offers is refused', async () => {
    const client = await startServer({ endpoint: 'http://127.0.0.1:1' });
    const ask = client.connection.sendRequest('workspace/executeCommand', { command: 'dbrx-ls.other' });
    await assert.rejects(ask, { code: -32602 });
    await client.close();
});
