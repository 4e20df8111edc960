// Prompts that are computed before they are asked for: when, when not, and that nothing else changes.
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
    after, BLANK, FILES, gate, HANG, HEALING, says, session, settled, shown, TRUTH, upTo,
} from './support/completing.js';
import { positionOf } from './support/lsp_client.js';
import { oracle, openTurnOf } from './support/oracle.js';
import { decode } from './support/vocabulary.js';

const line = oracle(FILES, { lines: 1 });
const PAUSE = 400; // longer than a cursor's rest

/** What a warm request is for: the text before its gap. */
const tailOf = (request) => openTurnOf(request.prompt)?.tail ?? '';

/** How many warm requests there were once no more come. */
async function settledWarms(engine) {
    for (let n = -1; n !== engine.warms.length;) {
        n = engine.warms.length;
        await sleep(2 * PAUSE);
        await engine.until(() => engine.warms.every((r) => r.closedBy), 'their ends');
    }
    return engine.warms.length;
}

test('a document that was opened is warmed up to its text, without an answer', async () => {
    await session({ engine: { script: HANG, handshake: HEALING } }, async (client, engine) => {
        client.open('a.c', TRUTH);
        await engine.until(() => engine.warms.length > 0, 'a warm request');
        const { body, ids } = engine.warms[0];
        assert.equal(body.max_tokens, 0);
        assert.equal(body.dbrx.priority, 'warm');
        assert.equal(body.dbrx.session, undefined, 'it takes nobody\'s place');
        assert.ok(ids.length > 300);
        assert.ok(!decode(ids).includes('#include'), 'where the cursor goes is not known');
        assert.equal(engine.requests.length, 0);
    });
});

test('after a change the question finds its prompt computed', async () => {
    await session({ engine: { script: line } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await engine.until(() => engine.warms.some((r) => r.closedBy), 'the first');
        client.change(uri, { start: position, end: position }, ' ');
        await engine.until(() => tailOf(engine.warms.at(-1)).includes('return'), 'the change');
        await engine.until(() => engine.warms.every((r) => r.closedBy), 'its end');
        await shown(client, uri, after(position, 1));
        const [request] = engine.requests;
        assert.ok(request.cached >= request.ids.length - 2, `${request.cached} of ${request.ids.length}`);
    });
});

test('a cursor that rests within a suggestion that is long, and typed along for a while', async () => {
    const words = ['weigh', 'count', 'stack', 'order', 'paint', 'close', 'lift', 'turn', 'store', 'mark'];
    const body = words.map((w, i) => `    first = ${w}_all(first * ${i}, second, "${w} it now");\n`).join('');
    const truth = TRUTH.replace('    return first', `${body}    return first`);
    const engineOptions = { script: says(`${body.trimEnd()}\n\`\`\``), handshake: HEALING };
    await session({ engine: engineOptions }, async (client, engine) => {
        const position = positionOf(truth, body);
        const [uri, items] = await client.together(() => { // nothing was warmed that could pay for more
            const opened = client.open('a.c', truth.replace(body, '\n'));
            return client.complete(opened, position, { invoked: true }).then((all) => [opened, all]);
        });
        const [{ insertText }] = items;
        assert.ok(insertText.includes('store_all'));
        await sleep(PAUSE);
        assert.equal(engine.warms.length, 0, 'the accepted state costs too much');
        client.change(uri, { start: position, end: position }, insertText.slice(0, insertText.indexOf('count_all')));
        await engine.until(() => engine.warms.some((r) => tailOf(r).includes('weigh_all')), 'the place');
    });
});

test('a shown suggestion: its accepted state, and the line behind it', async () => {
    await session({ engine: { script: oracle(FILES) } }, async (client, engine) => {
        const long = TRUTH.replace('first + second', `first + second + ${[...'abcdefghijklmn'].map((c) => `${c}${c} * 3`).join(' + ')}`);
        engine.script = oracle({ 'a.c': long }, { lines: 1 });
        const typed = '    return first';
        const at = long.indexOf(typed) + typed.length;
        const text = long.slice(0, at) + long.slice(long.indexOf('\n', at));
        const position = positionOf(long, typed, { end: true });
        const uri = client.open('a.c', text);
        await sleep(PAUSE);
        const item = await shown(client, uri, position);
        const whole = (r) => tailOf(r).includes('mm * 3');
        await engine.until(() => engine.warms.some(whole), 'the accepted state');
        await engine.until(() => engine.warms.every((r) => r.closedBy), 'its end');
        client.change(uri, { start: position, end: position }, item.insertText);
        const end = after(position, item.insertText.length);
        engine.script = HANG;
        settled(client.complete(uri, end, { invoked: true }));
        await engine.until(() => engine.requests.length === 2, 'the question');
        const request = engine.requests[1];
        assert.ok(request.cached >= request.ids.length - 4, `${request.cached} of ${request.ids.length}`);
    });
});

test('what was opened while the engine loads is warmed once it is ready, and again when it comes back', async () => {
    const options = { engine: { script: line, handshake: { state: 'loading' } }, ready: false };
    await session(options, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await client.waitForStatus('loading');
        await sleep(PAUSE); // it is known to be no excluded file by now
        assert.equal(engine.warms.length, 0);
        engine.setState('ready');
        await engine.until(() => engine.warms.length > 0, 'a warm request');
        assert.ok(!tailOf(engine.warms[0]), 'where the cursor goes is not known');
        await shown(client, uri, position);
        await settledWarms(engine);
        await engine.stop();
        await client.waitForStatus((status) => !['ready', 'busy'].includes(status.state));
        engine.warms = []; // it comes back with nothing in its cache
        engine.requests = [];
        await engine.listen();
        await engine.until(() => engine.warms.some(tailOf), 'the place of the last question');
    });
});

test('the line behind a shown suggestion, where the prompt jumps there: behind the accepted state', async () => {
    const body = [...'abcd'].map((c) => `    first = first * 2 + second * 3 - ${c}${c}${c};\n`);
    body.push('    first = first * 2 + second * 3 - aaa * 4 + bbb * 5 - ccc * 6 + ddd * 7;\n');
    const truth = TRUTH.replace('    return first', `${body.join('')}    return first`);
    await session({ engine: { script: oracle({ 'a.c': truth }, { lines: 1 }) } }, async (client, engine) => {
        const begin = truth.indexOf(body[0]);
        const last = '    first = first * 2';
        // The tail begins two lines above the gap and grows to six, with the line that is being typed.
        const text = `${truth.slice(0, begin)}\n${truth.slice(truth.indexOf('    return first'))}`;
        const uri = client.open('a.c', text);
        await settledWarms(engine);
        let at = positionOf(truth, body[0]);
        const put = (what) => {
            client.change(uri, { start: at, end: at }, what);
            const lines = what.split('\n');
            at = { line: at.line + lines.length - 1,
                character: lines.length > 1 ? lines.at(-1).length : at.character + what.length };
        };
        await client.complete(uri, at, { invoked: true });
        for (const one of body.slice(0, 4)) put(one);
        put(last);
        await settledWarms(engine);
        const n = engine.warms.length;
        const item = await shown(client, uri, at);
        const lines = (request) => tailOf(request).split('\n').length;
        const tails = () => engine.warms.slice(n).filter((r) => tailOf(r).includes(item.insertText.slice(0, -1)));
        await engine.until(() => tails().length > 1, 'both');
        assert.deepEqual(tails().slice(0, 2).map(lines), [6, 2], 'the likeliest first');
    });
});

test('nothing is warmed beside a real request', async () => {
    const late = gate(line);
    await session({ engine: { script: late.script } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const other = client.open('b/a.c', TRUTH.replaceAll('first', 'other'));
        const uri = client.open('a.c', text);
        await settledWarms(engine);
        await sleep(PAUSE); // both are known to be no excluded files by now
        const answer = client.complete(uri, position, { invoked: true });
        await engine.until(() => engine.requests.length === 1, 'the request');
        const n = engine.warms.length;
        client.type(other, BLANK, 'int x;');
        await sleep(PAUSE);
        assert.equal(engine.warms.length, n);
        late.open();
        await answer;
        await engine.until(() => engine.warms.length > n, 'the rest of the work');
    });
});

test('nothing is warmed while an end of an answer is looked for', async () => {
    let scores;
    const later = new Promise((done) => { scores = done; });
    const script = (request) =>
        `${Buffer.from(request.body.dbrx.must_start_with ?? '', 'base64')}    int sum = 0;\n    sum += 1;\n    sum += 2;\n\`\`\``;
    const handshake = { features: [...HEALING.features, 'score', 'score_behind'] };
    await session({ engine: { script, handshake, fit: () => later } }, async (client, engine) => {
        const other = client.open('b/a.c', TRUTH.replaceAll('first', 'other'));
        const uri = client.open('a.c', TRUTH.replace('    int sum = add(value, value);\n', '\n'));
        await settledWarms(engine);
        const answer = client.complete(uri, { line: 9, character: 0 }, { invoked: true });
        await engine.until(() => engine.fits.length === 1 && engine.requests[0].closedBy, 'the question');
        const n = engine.warms.length;
        client.change(other, { start: BLANK, end: BLANK }, LONG);
        await sleep(PAUSE);
        assert.equal(engine.warms.length, n);
        scores([-1, -2, -3]);
        assert.equal((await answer).length, 1);
        await engine.until(() => engine.warms.length > n, 'the rest of the work');
    });
});

const LONG = '#define LONG_ENOUGH_TO_BE_WARMED (1 + 2 + 3 + 4 + 5)\n';

test('warm work ends when the text says otherwise, and when something else is asked', async () => {
    const held = [];
    const warm = (request) => (tailOf(request) ? new Promise((done) => { held.push(done); }) : undefined);
    await session({ engine: { script: line, warm } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await settledWarms(engine); // also with what was gathered for it
        client.change(uri, { start: BLANK, end: BLANK }, LONG);
        await engine.until(() => engine.warms.some(tailOf), 'the change');
        const first = engine.warms.find(tailOf);
        client.change(uri, { start: BLANK, end: BLANK }, '#define X 1\n');
        await engine.until(() => first.closedBy === 'client', 'its end');
        const moved = { line: position.line + 2, character: position.character };
        await shown(client, uri, moved);
        assert.ok(engine.warms.filter((r) => !r.closedBy).length <= 1, 'one at a time');
        held.forEach((done) => done());
    });
});

test('what every question begins with is not ended by a change', async () => {
    const held = [];
    const warm = () => new Promise((done) => { held.push(done); });
    await session({ engine: { script: HANG, handshake: HEALING, warm } }, async (client, engine) => {
        const uri = client.open('a.c', TRUTH);
        await engine.until(() => engine.warms.length === 1, 'the opened document');
        client.change(uri, { start: BLANK, end: BLANK }, LONG);
        await sleep(PAUSE);
        assert.equal(engine.warms[0].closedBy, null);
        held.forEach((done) => done());
    });
});

test('whoever types along a suggestion does not end what is warmed for it', async () => {
    const long = TRUTH.replace('first + second', `first + second + ${[...'abcdefghijklmn'].map((c) => `${c}${c} * 3`).join(' + ')}`);
    const held = [];
    const accepted = (request) => tailOf(request).includes('mm * 3');
    const warm = (request) => (accepted(request) ? new Promise((done) => { held.push(done); }) : undefined);
    await session({ engine: { script: oracle({ 'a.c': long }, { lines: 1 }), warm } }, async (client, engine) => {
        const { text, position } = upTo('return first', '', long);
        const uri = client.open('a.c', text);
        await settledWarms(engine);
        await shown(client, uri, position);
        await engine.until(() => held.length > 0, 'the accepted state');
        const n = engine.warms.length;
        client.type(uri, position, ' + second');
        await sleep(PAUSE);
        assert.equal(engine.warms.length, n);
        assert.equal(engine.warms.find(accepted).closedBy, null);
        held.forEach((done) => done());
    });
});

/** The same keys with and without warming. */
async function replay(warm) {
    let requests;
    await session({ engine: { script: '```', handshake: HEALING }, settings: { warm } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        if (warm) await engine.until(() => engine.warms.some((r) => r.closedBy), 'the opened document');
        else await settledWarms(engine); // of which there are none
        let at = position;
        for (const [i, key] of [...' - 1;'].entries()) {
            at = client.type(uri, at, key);
            await client.complete(uri, at, { invoked: true });
            assert.equal(engine.requests.length, i + 1);
            if (i % 2) await sleep(PAUSE);
        }
        client.change(uri, { start: at, end: at }, '\n    ');
        at = { line: at.line + 1, character: 4 };
        await client.complete(uri, at, { invoked: true });
        engine.script = says(' + second;\n```'); // something is shown, and not taken
        client.change(uri, { start: at, end: at }, 'return first');
        await client.complete(uri, after(at, 12), { invoked: true });
        await sleep(PAUSE);
        engine.script = '```';
        client.type(uri, after(at, 12), ' *');
        await client.complete(uri, after(at, 14), { invoked: true });
        assert.equal(engine.requests.length, 8);
        requests = { prompts: engine.requests.map((r) => r.prompt), warms: engine.warms.length };
    });
    return requests;
}

test('prompts are the same with and without warming; switched off there is none', async () => {
    const [on, off] = [await replay(true), await replay(false)];
    assert.deepEqual(on.prompts, off.prompts);
    assert.ok(on.warms > 0);
    assert.equal(off.warms, 0);
});

test('a foreign engine is warmed only once it has been seen to find tokens again', async () => {
    for (const finds of [false, true]) {
        await session({ engine: { script: '```', foreign: true } }, async (client, engine) => {
            engine.reportsCached = finds;
            const { text, position } = upTo('return first');
            const uri = client.open('a.c', text);
            client.change(uri, { start: BLANK, end: BLANK }, `// ${'words '.repeat(40)}\n`);
            await sleep(PAUSE);
            const moved = { line: position.line + 1, character: position.character };
            await client.complete(uri, moved, { invoked: true });
            client.type(uri, moved, ' +');
            await client.complete(uri, after(moved, 2), { invoked: true });
            await sleep(PAUSE);
            const before = engine.requests.length;
            assert.equal(before, 2);
            client.change(uri, { start: BLANK, end: BLANK }, `// ${'other '.repeat(40)}\n`);
            if (finds) await engine.until(() => engine.requests.length > before, 'a warm request');
            else await sleep(2 * PAUSE);
            const warms = engine.requests.slice(before);
            assert.equal(warms.length > 0, finds);
            assert.ok(warms.every(({ body }) => body.max_tokens === 1 && body.dbrx === undefined));
        });
    }
});

test('a document that was left is warmed where it was left', async () => {
    const late = gate(line);
    await session({ engine: { script: late.script } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const other = client.open('b.c', 'int other;\n');
        await settledWarms(engine);
        const answer = client.complete(uri, position, { invoked: true });
        await engine.until(() => engine.requests.length === 1, 'the request'); // until it ends nothing is warmed
        client.change(uri, { start: position, end: position }, ` + ${'other_name + '.repeat(12)}`);
        await settled(answer);
        client.type(other, { line: 0, character: 10 }, '\n');
        await client.prompt(other); // both have been read
        late.open();
        await engine.until(() => engine.warms.some((r) => tailOf(r).includes('other_name')),
            'the place that was left');
    });
});
