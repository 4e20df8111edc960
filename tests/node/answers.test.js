// What models do wrong, and what the editor gets of it: the whole line from answer to item.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { positionOf, startServer } from './support/lsp_client.js';
import { oracle } from './support/oracle.js';
import * as scripts from './support/scripts.js';
import { startScriptedEngine } from './support/scripted_engine.js';

const TRUTH = `#include <stddef.h>

size_t count_even(const int *values, size_t n)
{
    size_t n_even = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i] % 2 == 0) n_even++;
    return n_even;
}
`;
const FILE = 'count.c';
const truth = oracle({ [FILE]: TRUTH });
const body = oracle({ [FILE]: TRUTH }, { until: '\n}' });

// A server and an engine for each answer: failures of one must not keep the next from being asked.
async function session(script, run) {
    const engine = await startScriptedEngine({ script });
    let client;
    try {
        client = await startServer({ endpoint: engine.endpoint });
        await client.waitForStatus('ready');
        await run(client, engine);
        assert.ok(engine.requests.length > 0, 'the engine was asked');
        assert.deepEqual(client.messages, [], 'nothing pops up');
    } finally {
        await client?.close();
        await engine.close();
    }
}

// The text from the end of `typed` to the start of `below` is missing. Gives the whole text after
// the answer was accepted, or null when there was nothing to accept.
async function accepted(client, [typed, below]) {
    const text =
        TRUTH.slice(0, TRUTH.indexOf(typed) + typed.length) + TRUTH.slice(TRUTH.indexOf(below));
    const uri = client.open(FILE, text);
    const position = positionOf(text, typed, { end: true });
    const items = await client.complete(uri, position, { invoked: true });
    const result = items.length > 0 ? client.accepted(uri, items[0]) : null;
    client.closeDocument(uri);
    return result;
}

const LINE = ['for (size_t i = 0;', '\n        if (values'];
const BLOCK = ['{\n    ', '\n}\n'];

const repaired = [
    ['the plain answer', truth, LINE],
    ['an answer that never ends is cut at the line', scripts.slow(truth, { pieceBytes: 1 }), LINE],
    ['a block', body, BLOCK],
    ['a block that goes on with what stands below', truth, BLOCK],
    ['a block with the text below said again', scripts.repeatedSuffix(body, '\n}\n}\n'), BLOCK],
];

for (const [name, script, gap] of repaired) {
    test(`the file is as it should be: ${name}`, () =>
        session(script, async (client) => {
            assert.equal(await accepted(client, gap), TRUTH);
        }));
}

const refused = [
    ['prose', () => 'Sure! Here is the completed code for you.'],
    ['nothing but a fence', () => '```'],
    ['blanks', () => '   \n  \n```'],
    ['a refusal of the engine', scripts.failing(503, 'full', { 'retry-after': '1' })],
    ['an error of the engine', scripts.failing(500)],
    ['a page instead of a stream', scripts.hostile.notEvents],
    ['a stream of nonsense', scripts.hostile.notJson],
    ['terminal control', scripts.hostile.ansi],
    ['invisible direction changes', scripts.hostile.bidi],
    ['a stream cut in the middle of a line', scripts.cutOff(truth, 5)],
    ['ten megabytes in one line', scripts.hostile.huge],
];

for (const [name, script] of refused) {
    test(`nothing is offered, nothing breaks: ${name}`, () =>
        session(script, async (client, engine) => {
            assert.equal(await accepted(client, LINE), null);
            engine.script = truth;
            let next = null; // the client may keep away from an engine that failed, but not for long
            for (let i = 0; i < 200 && next === null; i++, await sleep(100))
                next = await accepted(client, LINE);
            assert.equal(next, TRUTH, 'the next answer is right');
        }));
}
