// What somebody sees who goes on typing: generations that are kept, suggestions that stay, what was
// rejected, and other candidates. The real server over stdio, and an engine that answers from a
// script.
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
    after, BLANK, CANCELLED, FILES, gate, HANG, HEALING, only, says, session, settled, shown, TRUTH, upTo,
} from './support/completing.js';
import { positionOf } from './support/lsp_client.js';
import { oracle } from './support/oracle.js';

const line = oracle(FILES, { lines: 1 });
const HEALS = { handshake: HEALING };

test('a generation is kept while what is typed agrees, and answers further on', async () => {
    const late = gate(line);
    await session({ engine: { script: late.script } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        let waiting = settled(client.complete(uri, position));
        await engine.until(() => engine.requests.length === 1, 'the request');
        let at = position;
        for (const key of ' + s') {
            at = client.type(uri, at, key);
            assert.deepEqual(await waiting, { code: CANCELLED }, 'the old text is not answered');
            waiting = settled(client.complete(uri, at));
        }
        late.open();
        const { items } = await waiting; // none, where the machine is too busy to answer in time
        const item = items.length ? only(items, at) : await shown(client, uri, at);
        assert.equal(item.insertText, 'econd;');
        assert.equal(client.accepted(uri, item), TRUTH);
        assert.equal(engine.requests.length, 1);
    });
});

test('an editor that cancels with every key loses nothing', async () => {
    const late = gate(line);
    await session({ engine: { script: late.script } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const old = client.complete(uri, position);
        const settledOld = settled(old);
        await engine.until(() => engine.requests.length === 1, 'the request');
        old.cancel();
        assert.deepEqual(await settledOld, { code: CANCELLED });
        const at = client.type(uri, position, ' ');
        await sleep(50); // as VS Code waits
        const next = client.complete(uri, at);
        await client.prompt(uri); // it has been read
        late.open();
        const items = await next;
        const item = items.length ? only(items, at) : await shown(client, uri, at);
        assert.equal(client.accepted(uri, item), TRUTH);
        assert.equal(engine.requests.length, 1);
    });
});

test('brackets the editor closes agree with a generation under way', async () => {
    const late = gate(line);
    await session({ engine: { script: late.script } }, async (client, engine) => {
        const { text, position } = upTo('int sum = add');
        const uri = client.open('a.c', text);
        const old = settled(client.complete(uri, position));
        await engine.until(() => engine.requests.length === 1, 'the request');
        client.change(uri, { start: position, end: position }, '()');
        await old;
        const at = after(position, 1);
        const next = client.complete(uri, at, { invoked: true });
        await client.prompt(uri);
        late.open();
        const item = only(await next, at);
        assert.deepEqual(item.range, { start: at, end: after(at, 1) });
        assert.equal(client.accepted(uri, item), TRUTH);
        assert.equal(engine.requests.length, 1);
    });
});

test('where answers are slower than keys, a question waits for a pause', async () => {
    const script = (request) => ({ text: says(' + second;\n```')(request), firstMs: 1000 });
    await session({ engine: { script, ...HEALS } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await client.complete(uri, position, { invoked: true }); // so long do they take
        const before = engine.requests.length;
        // Each key at another place, so that no generation goes on for the next.
        const places = [BLANK, { line: 6, character: 0 }];
        for (let i = 0; i < 12; i++) {
            const at = client.type(uri, places[i % 2], 'x');
            places[i % 2] = at;
            settled(client.complete(uri, at));
            await sleep(100);
        }
        const asked = engine.requests.length - before; // one each, but for the pauses of a busy machine
        assert.ok(asked < 9, `${asked} of 12`);
        await engine.until(() => engine.requests.length > before, 'the last one');
    });
});

test('what is typed against a generation ends it at once, and there is another one', async () => {
    const script = (request) => ({ text: says(' + second;\n```')(request), pieceBytes: 9, pieceMs: 300 });
    await session({ engine: { script, ...HEALS } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const old = settled(client.complete(uri, position, { invoked: true }));
        await engine.until(() => engine.requests[0]?.sentBytes > 8, 'its beginning');
        const at = client.type(uri, position, ' -');
        assert.deepEqual(await old, { code: CANCELLED });
        await engine.until(() => engine.requests[0].closedBy === 'client', 'the stream to close');
        engine.script = says(' second;\n```');
        assert.equal(only(await client.complete(uri, at, { invoked: true }), at).insertText, ' second;');
    });
});

test('a generation that turns out otherwise than what was typed is asked for again', async () => {
    const late = gate(line);
    const script = (request) => (request.index === 0 ? late.script() : says(' 1;\n```'));
    await session({ engine: { script, ...HEALS } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const old = settled(client.complete(uri, position, { invoked: true }));
        await engine.until(() => engine.requests.length === 1, 'the request');
        const at = client.type(uri, position, ' -'); // nobody knows yet that this is wrong
        await old;
        const next = client.complete(uri, at, { invoked: true });
        await client.prompt(uri);
        assert.equal(engine.requests.length, 1, 'it may still agree');
        late.open();
        assert.equal(only(await next, at).insertText, ' 1;');
        assert.equal(engine.requests.length, 2);
    });
});

test('a block: Enter between braces that the editor closed and indented', async () => {
    const truth = TRUTH.replace('int main(void)\n{', 'int main(void) {');
    await session({ engine: { script: [oracle({ 'a.c': truth }), HANG] } }, async (client, engine) => {
        const typed = 'int main(void)';
        const at0 = truth.indexOf(typed) + typed.length;
        const text = `${truth.slice(0, at0)}\n`;
        const position = positionOf(truth, typed, { end: true });
        const uri = client.open('a.c', text);
        const [whole] = await client.complete(uri, position, { invoked: true });
        assert.equal(client.accepted(uri, whole), truth);
        client.change(uri, { start: position, end: position }, ' {}');
        let at = after(position, 2);
        let item = await shown(client, uri, at);
        assert.deepEqual(item.range, { start: at, end: after(at, 1) });
        assert.equal(client.accepted(uri, item), truth);
        client.change(uri, { start: at, end: at }, '\n    \n');
        at = { line: at.line + 1, character: 4 };
        item = await shown(client, uri, at);
        assert.equal(item.insertText, 'printf("%d\\n", add(1, 2));\n    return 0;');
        assert.equal(client.accepted(uri, item), truth);
        at = client.type(uri, at, 'printf');
        assert.equal(client.accepted(uri, await shown(client, uri, at)), truth);
        assert.equal(engine.requests.length, 1);
    });
});

test('an editor that indents deeper than the suggestion: the range begins at the line', async () => {
    const script = [says(' = value;\nint other;\n```'), HANG];
    await session({ engine: { script, ...HEALS } }, async (client, engine) => {
        const text = 'int value = 1;\nint x\n\n';
        const uri = client.open('b.c', text);
        const position = { line: 1, character: 5 };
        const [item] = await client.complete(uri, position, { invoked: true });
        assert.equal(item.insertText, ' = value;\nint other;');
        client.type(uri, position, ' = value;\n');
        const at = { line: 2, character: 4 };
        client.change(uri, { start: { line: 2, character: 0 }, end: { line: 2, character: 0 } }, '    ');
        const rest = await shown(client, uri, at);
        assert.deepEqual(rest.range, { start: { line: 2, character: 0 }, end: at });
        assert.equal(rest.insertText, 'int other;');
        assert.equal(engine.requests.length, 1);
    });
});

test('lines behind the one that was shown answer at the next line', async () => {
    const body = '    int sum = add(value, value);\n    printf("%d\\n", sum);\n    return sum;\n';
    const script = [(request) => ({ ...oracle(FILES)(request), pieceBytes: 4096 }), HANG];
    await session({ engine: { script } }, async (client, engine) => {
        const at = TRUTH.indexOf(body) + '    int sum'.length;
        const text = TRUTH.slice(0, at) + TRUTH.slice(TRUTH.indexOf('}', at) - 1);
        const position = positionOf(TRUTH, '    int sum', { end: true });
        const uri = client.open('a.c', text);
        const item = await shown(client, uri, position);
        assert.equal(item.insertText, ' = add(value, value);');
        client.type(uri, position, item.insertText);
        client.type(uri, after(position, item.insertText.length), '\n    ');
        const next = { line: position.line + 1, character: 4 };
        assert.match((await shown(client, uri, next)).insertText, /^printf\("%d\\n", sum\);/);
        assert.equal(engine.requests.length, 1);
    });
});

test('what was rejected is not offered again there, after delete and after undo', async () => {
    await session({ engine: { script: line, ...HEALS } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await shown(client, uri, position);
        const wrong = client.type(uri, position, ' -');
        client.change(uri, { start: position, end: wrong }, ''); // deleted
        for (const invoked of [false, true])
            assert.deepEqual(await client.complete(uri, position, { invoked }), []);
        const along = client.type(uri, position, ' + ');
        assert.deepEqual(await client.complete(uri, along), [], 'nor further on along it');
        // Another suggestion at the same place is another one, and so is this one elsewhere.
        client.change(uri, { start: position, end: along }, '');
        engine.script = says(' * second;\n```');
        assert.equal((await client.complete(uri, position, { invoked: true }))[0].insertText,
            ' * second;');
        client.change(uri, { start: BLANK, end: BLANK }, '//\n');
        const moved = { line: position.line + 1, character: position.character };
        engine.script = says(' + second;\n```');
        assert.equal((await client.complete(uri, moved, { invoked: true }))[0].insertText, ' + second;');
    });
});

test('what was sent away is not offered again there, whoever asks', async () => {
    await session({ engine: { script: line, ...HEALS } }, async (client) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const dismiss = () =>
            client.connection.sendNotification('dbrx/dismissed', { textDocument: { uri } });
        dismiss(); // nothing is shown yet: nothing is rejected
        await shown(client, uri, position);
        dismiss();
        for (const invoked of [false, true])
            assert.deepEqual(await client.complete(uri, position, { invoked }), []);
        const along = client.type(uri, position, ' + ');
        assert.deepEqual(await client.complete(uri, along), [], 'nor further on along it');
        client.connection.sendNotification('dbrx/dismissed', {});
        client.connection.sendNotification('dbrx/dismissed', { textDocument: { uri: 'file:///nowhere' } });
        assert.deepEqual(await client.complete(uri, along), [], 'the server lives');
    });
});

test('deleting what was typed along rejects nothing', async () => {
    await session({ engine: { script: [line, HANG] } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await shown(client, uri, position);
        const at = client.type(uri, position, ' + s');
        client.change(uri, { start: position, end: at }, '');
        assert.equal(client.accepted(uri, await shown(client, uri, position)), TRUTH);
        assert.equal(engine.requests.length, 1);
    });
});

test('who asks gets other candidates, each once, the likeliest first', async () => {
    const alternates = [' - second;\n```', ' + second;\n```'];
    await session({ engine: { script: line, alternates, ...HEALS } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const items = await client.complete(uri, position, { invoked: true });
        assert.deepEqual(items.map((item) => item.insertText), [' + second;', ' - second;']);
        const [request] = engine.requests;
        const [others] = engine.alternates;
        assert.deepEqual(others.ids, request.ids, 'they share the prompt');
        assert.equal(others.body.n, 2);
        assert.ok(others.body.temperature > 0 && request.body.temperature === 0);
        await shown(client, uri, position);
        assert.equal(engine.alternates.length, 1, 'typing asks for one');
    });
});

test('a session takes the place of its older requests at the engine', async () => {
    await session({ engine: { script: HANG, handshake: HEALING } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const [one, two] = ['a.c', 'b/a.c'].map((name) => client.open(name, text));
        for (const [uri, place] of [[one, position], [one, BLANK], [two, position]]) {
            const n = engine.requests.length + 1;
            settled(client.complete(uri, place, { invoked: true }));
            await engine.until(() => engine.requests.length === n, 'the request');
        }
        const own = engine.requests.map(({ body }) => body.dbrx);
        assert.ok(own.every(({ supersedes }) => supersedes === 'session'));
        assert.equal(own[0].session, own[1].session);
        assert.notEqual(own[0].session, own[2].session);
    });
});
