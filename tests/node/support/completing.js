// What tests of completions share: a session with an engine that answers from a script, a file whose
// every right answer is known, and questions about it.
import assert from 'node:assert/strict';
import { positionOf, startServer } from './lsp_client.js';
import { startScriptedEngine } from './scripted_engine.js';
import { encode } from './vocabulary.js';

encode('warm'); // the first use takes longer than Automatic waits

export const CANCELLED = -32800;
export const HANG = { hang: true };
export const HEALING = { features: ['token_ids', 'lease', 'priority', 'must_start_with'] };
export const TRUTH = `#include <stdio.h>

static int add(int first, int second)
{
    return first + second;
}

static int twice(int value)
{
    int sum = add(value, value);
    printf("%d\\n", sum);
    return sum;
}

int main(void)
{
    printf("%d\\n", add(1, 2));
    return 0;
}
`;
export const FILES = { 'a.c': TRUTH };
export const BLANK = { line: 1, character: 0 };

/** Runs `body(client, engine)` with a server that is ready, and ends both. Whatever happened, every
 *  request got exactly one reply and nothing popped up. */
export async function session(options, body) {
    const engine = await startScriptedEngine(options.engine);
    let client = null;
    try {
        client = await startServer({ endpoint: engine.endpoint, ...options });
        const frames = [];
        client.process.stdout.on('data', (bytes) => frames.push(bytes));
        if (options.ready !== false) await client.waitForStatus(usable);
        await body(client, engine);
        await client.shutdown();
        assert.deepEqual(client.messages, [], 'nothing pops up');
        repliesCheck(Buffer.concat(frames));
    } finally {
        await client?.close();
        await engine.close();
    }
    assert.equal(client.exited?.code, 0, client.stderr);
    assert.ok(!/runtime error|Sanitizer/.test(client.stderr), client.stderr);
}

/** Of the replies in the server's output each id occurs once; -32800 is the only error. */
function repliesCheck(output) {
    const seen = new Set();
    for (let at = 0; ; ) {
        const header = /Content-Length: (\d+)/i.exec(output.subarray(at, at + 200).toString());
        const start = output.indexOf('\r\n\r\n', at) + 4;
        if (!header || start < 4) return;
        const message = JSON.parse(output.subarray(start, start + Number(header[1])));
        at = start + Number(header[1]);
        if (message.id === undefined || message.method) continue;
        assert.ok(!seen.has(message.id), `a second reply to ${message.id}`);
        seen.add(message.id);
        if (message.result && 'items' in message.result) assert.ok(Array.isArray(message.result.items), 'a list, never null');
        if (message.error) assert.equal(message.error.code, CANCELLED, JSON.stringify(message));
    }
}

/** The truth without the rest of the line behind `typed`, of which `kept` stays. */
export function upTo(typed, kept = '', truth = TRUTH) {
    const at = truth.indexOf(typed) + typed.length;
    assert.ok(at >= typed.length);
    return {
        text: truth.slice(0, at) + kept + truth.slice(truth.indexOf('\n', at)),
        position: positionOf(truth, typed, { end: true }),
    };
}

export const usable = (status) => ['ready', 'degraded'].includes(status.state);
export const settled = (promise) => promise.then((items) => ({ items }), (error) => ({ code: error.code }));
export const after = (position, n) => ({ line: position.line, character: position.character + n });

/** The one item, whose range is explicit, on one line, and holds the cursor. */
export function only(items, position) {
    assert.equal(items.length, 1);
    const { range, insertText } = items[0];
    assert.equal(typeof insertText, 'string');
    assert.ok(insertText.length > 0);
    assert.equal(range.start.line, position.line);
    assert.equal(range.end.line, position.line);
    assert.ok(range.start.character <= position.character);
    assert.ok(range.end.character >= position.character);
    return items[0];
}

/** The one item of an Automatic request. On a machine that is too busy to answer in time the
 *  generation goes on, and who asks again joins it: so asking again hides nothing. */
export async function shown(client, uri, position) {
    for (let i = 0; i < 20; i++) {
        const items = await client.complete(uri, position);
        if (items.length > 0) return only(items, position);
    }
    return assert.fail('nothing is shown');
}

/** A script that waits until it is opened; then it is `script`. */
export function gate(script) {
    let open;
    const opened = new Promise((resolve) => { open = resolve; });
    return { open, script: async () => { await opened; return script; } };
}

/** What an engine says that begins as it must. */
export const says = (text) => ({ body }) =>
    Buffer.from(body.dbrx?.must_start_with ?? '', 'base64').toString() + text;
