// A server with a scripted engine in the workspace of a sandbox that the test has filled.
import assert from 'node:assert/strict';
import { startServer } from './lsp_client.js';
import { startScriptedEngine } from './scripted_engine.js';

/** Runs `body({ client, engine, sandbox })` when the engine is there, then ends all of it, the sandbox as
 *  well. Whatever happened, nothing popped up and no sanitizer found anything. */
export async function served(sandbox, { script, ...options }, body) {
    const engine = await startScriptedEngine({ script });
    let client = null;
    try {
        client = await startServer({ endpoint: engine.endpoint, sandbox, ...options });
        await client.waitForStatus((s) => ['ready', 'degraded'].includes(s.state));
        await body({ client, engine, sandbox });
        await client.shutdown();
        assert.deepEqual(client.messages, []);
    } finally {
        await client?.close();
        await engine.close();
        sandbox.close();
    }
    assert.ok(!/runtime error|Sanitizer/.test(client.stderr), client.stderr);
    return client;
}
