// Code actions under test: a session of an editor that lets a server act, with the scripted engine that
// sees every prompt.
import assert from 'node:assert/strict';
import { rangeOf, startActing } from './acting_client.js';
import { Sandbox } from './sandbox.js';
import { startScriptedEngine } from './scripted_engine.js';

export const FEATURES = ['token_ids', 'lease', 'priority', 'deadline', 'must_start_with', 'predicted'];
export const REQUEST_FAILED = -32803;
export const CONTENT_MODIFIED = -32801;
export const CANCELLED = -32800;

export const SUM = `#include <stdio.h>

/* Adds all up. */
int sum(const int *values, int n)
{
    int total = 0;
    for (int i = 0; i < n; i++) {
        total = total + values[i];
    }
    return total;
}

int main(void)
{
    int values[] = {1, 2, 3};
    printf("%d\\n", sum(values, 3));
    return 0;
}
`;
export const LOOP = `    for (int i = 0; i < n; i++) {
        total = total + values[i];
    }`;
export const SHORT_LOOP = `    for (int i = 0; i < n; i++)
        total += values[i];`;

/** An answer that begins as it was told to and ends with its fence. */
export const answer = (code, end = '\n```') => (request) => {
    const must = Buffer.from(request.body.dbrx?.must_start_with ?? '', 'base64').toString();
    const open = request.prompt.slice(request.prompt.lastIndexOf('<|im_start|>assistant\n') + 22);
    const whole = `${open}${must}`;
    const said = whole.slice(whole.indexOf('\n') + 1); // the first indentation
    assert.ok(code.startsWith(said), `the code begins as the prompt does: ${JSON.stringify(said)}`);
    return must + code.slice(said.length) + end;
};

/** Runs `body(client, engine, uri, name)` with files in the workspace, the first of them open. */
export async function session({ files = { 'sum.c': SUM }, script, ...options }, body) {
    const sandbox = options.sandbox ?? new Sandbox();
    sandbox.write(files);
    const engine = await startScriptedEngine({
        script,
        handshake: { features: FEATURES, ...options.handshake },
        ...options.engine,
    });
    let client = null;
    try {
        client = await startActing({ sandbox, endpoint: engine.endpoint, ...options });
        await client.waitForStatus(options.engine?.foreign ? 'degraded' : 'ready');
        const name = options.open ?? Object.keys(files)[0];
        const uri = client.open(name, options.text);
        await body(client, engine, uri, name);
        if (!options.mayShow) assert.deepEqual(client.messages, [], 'nothing pops up');
    } finally {
        await client?.close();
        await engine.close();
        sandbox.close();
    }
    assert.ok(!/runtime error|Sanitizer/.test(client.stderr), client.stderr);
}

export const names = (list) => list.map((action) => action.command.command.replace('dbrx-ls.', ''));

/** What comes back is no edit: an error with these words, nothing asked of the editor. */
export async function refused(said, pattern, { name = 'simplify', requests, text = LOOP, ...options } = {}) {
    await session({ script: said, ...options }, async (client, engine, uri) => {
        const before = client.text(uri);
        const range = options.range ?? rangeOf(before, text);
        const { result, error } = await client.act(name, uri, range, { more: options.more });
        assert.equal(result, undefined, JSON.stringify(result));
        assert.equal(error.code, options.code ?? REQUEST_FAILED);
        assert.match(error.message, pattern);
        assert.equal(client.text(uri), before);
        assert.deepEqual(client.edits, [], 'nothing was asked of the editor');
        if (requests) assert.equal(engine.requests.length, requests);
        for (const request of engine.requests) assert.ok(request.closedBy, 'no stream stays open');
    });
}
