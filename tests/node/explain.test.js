// Explanations: what they are asked with, and how they come to each kind of client.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { rangeOf } from './support/acting_client.js';
import { LOOP, REQUEST_FAILED, session, SUM } from './support/acting.js';
import { Sandbox } from './support/sandbox.js';
import { hostile } from './support/scripts.js';

const PROSE = ' adds up.\n\n**How** See [the docs](http://evil.example/x) and ![pic](http://evil.example/p.png)\n' +
    '<img src=x onerror=alert(1)> [ref]: http://evil.example\n\n```c\na[i](b) < c;\n```\nand `v[0](x)`\u202e.\n';
const SAFE = ' adds up.\n\n**How** See [the docs] (http://evil.example/x) and ![pic] (http://evil.example/p.png)\n' +
    '&lt;img src=x onerror=alert(1)> [ref] : http://evil.example\n\n```c\na[i](b) < c;\n```\nand `v[0](x)`.\n';

test('explain: its prompt, and a document that streams to a client that can show one', async () => {
    const script = { text: PROSE, pieceBytes: 7, pieceMs: 25 };
    await session({ script, capabilities: undefined }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, 'int sum(', 'return total;\n}'));
        assert.equal(result.outcome, 'explained');
        assert.match(result.uri, /^dbrx-doc:\/explain\/sumc-[0-9]+\.md$/);
        assert.equal(result.cut, false);
        const { text } = await client.content(result.uri);
        assert.ok(text.endsWith(SAFE), text);
        assert.equal(client.shown.filter(({ uri: shown }) => shown === result.uri).length, 1);
        assert.ok(client.refreshed.length >= 2 && client.refreshed.every((one) => one === result.uri));
        const { prompt } = engine.requests[0];
        assert.ok(prompt.includes('The piece, lines 4 to 11:\n```c\n   4  int sum(const int *values, int n)\n   5  {\n'));
        assert.match(prompt, /three parts: \*\*What\*\* .*\*\*How\*\* .*\*\*What to watch\*\*/);
        assert.equal((await client.settled(client.content('dbrx-doc:/explain/none.md'))).error.code, REQUEST_FAILED);
    });
});

test('explain begins with the name of the thing, in the language of the user', async () => {
    await session({ script: ' x', locale: 'de-AT' }, async (client, engine, uri) => {
        const at = rangeOf(SUM, 'total + values').start;
        const { result } = await client.act('explain', uri, { start: at, end: at });
        assert.match((await client.content(result.uri)).text, /^`sum`/);
        assert.match(engine.requests[0].prompt, /Answer in German\./);
        assert.ok(engine.requests[0].prompt.includes('The piece, lines 3 to 11'), 'with the comment above it');
    });
});

test('explain for Neovim: a notification with all of the text, at most four a second, done at last', async () => {
    const script = { text: PROSE, pieceBytes: 7, pieceMs: 25 };
    await session({ script, shows: 'notes' }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
        await client.until(() => client.notes.at(-1)?.done, 'the last note');
        assert.ok(client.notes.at(-1).text.endsWith(SAFE));
        assert.ok(client.notes.slice(0, -1).every((note) => !note.done && client.notes.at(-1).text.startsWith(note.text)));
        assert.ok(client.notes.length < PROSE.length / 7, 'not one for each piece');
        assert.ok(client.notes.every((note) => note.uri === result.uri));
        assert.equal(client.shown.length, 0);
    });
});

test('explain for others: a file in the cache, shown or named', async () => {
    await session({ script: PROSE, shows: 'file' }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
        const file = new URL(result.uri).pathname;
        assert.ok(file.startsWith(`${client.sandbox.cache}/dbrx-ls/explain/`), file);
        assert.ok(fs.readFileSync(file, 'utf8').endsWith(SAFE));
        assert.equal(fs.statSync(file).mode & 0o777, 0o600);
        await client.until(() => client.shown.length === 1, 'it to be shown');
        assert.equal(client.shown[0].uri, result.uri);
        assert.deepEqual(fs.readdirSync(client.sandbox.work), ['sum.c']);
    });
    // Of many the oldest goes.
    const sandbox = new Sandbox();
    const kept = path.join(sandbox.cache, 'dbrx-ls/explain');
    fs.mkdirSync(kept, { recursive: true, mode: 0o700 });
    fs.chmodSync(path.dirname(kept), 0o700);
    for (let i = 0; i < 32; i++) {
        fs.writeFileSync(path.join(kept, `old-${i}.md`), 'x');
        fs.utimesSync(path.join(kept, `old-${i}.md`), 1000 + ((i + 5) % 32), 1000 + ((i + 5) % 32));
    }
    await session({ script: PROSE, shows: 'file', sandbox }, async (client, engine, uri) => {
        await client.act('explain', uri, rangeOf(SUM, LOOP));
        const files = fs.readdirSync(kept);
        assert.equal(files.length, 32);
        assert.ok(!files.includes('old-27.md') && files.includes('old-26.md'));
    });
    await session({ script: PROSE, shows: 'nothing', mayShow: true }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
        await client.until(() => client.messages.length === 1, 'the message');
        assert.ok(client.messages[0].message.includes(result.uri));
    });
});

test('prose that is cut says so', async () => {
    await session({ script: { text: PROSE, finish: 'length' } }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
        assert.equal(result.cut, true);
        assert.match((await client.content(result.uri)).text, /cut off/);
    });
});

test('prose that runs in a circle is ended, and says so', async () => {
    for (const circle of ['9..', 'It adds the values of the list, one after the other.\n']) {
        const script = { text: ' adds up. ' + circle.repeat(200), pieceBytes: 40, pieceMs: 2 };
        await session({ script }, async (client, engine, uri) => {
            const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
            assert.equal(result.cut, true);
            const { text } = await client.content(result.uri);
            assert.match(text, /ends here: the model began to repeat itself/);
            assert.ok(text.length < 1000, `${text.length} characters`);
            assert.equal(engine.requests[0].closedBy, 'client');
        });
    }
});

test('endless prose is bounded', async () => {
    await session({ script: hostile.huge }, async (client, engine, uri) => {
        const { result } = await client.act('explain', uri, rangeOf(SUM, LOOP));
        assert.equal(result.cut, true);
        assert.ok((await client.content(result.uri)).text.length < 400 * 1024);
        assert.equal(engine.requests[0].closedBy, 'client');
    });
});
