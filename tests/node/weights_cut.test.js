// A weights file that is cut short while the engine computes with it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { PREFILL, SLOW } from './support/lifecycle.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

/** Cuts the file in the middle of a long prefill. Returns what the process said and how it ended. */
async function cutWhileComputing(sandbox, name) {
    const model = makeTinyModel(path.join(sandbox.work, name), SLOW);
    const weights = path.join(model, 'model.safetensors');
    const service = new Service(sandbox, ['--model', model, '--threads', '1', '--idle', 'never']);
    await service.ready();
    const { tokens: prompt, max_tokens } = PREFILL;
    const answer = service.complete({ prompt, max_tokens, temperature: 0 }).catch(() => null);
    const lease = await service.lease();
    await eventually('the prefill', () => lease.last?.running === 1);
    fs.truncateSync(weights, 4096);
    const { code, signal } = await service.exited;
    await answer;
    return { code, signal, weights, stderr: service.stderr };
}

test('weights cut short end the engine with a word and exit code 3', async () => {
    const sandbox = new Sandbox();
    try {
        let faulted = false;
        // Between two steps the cut is noticed in order; nearly all the time is inside one.
        for (let round = 0; round < 5 && !faulted; round++) {
            const { code, signal, weights, stderr } = await cutWhileComputing(sandbox, `cut-${round}`);
            assert.deepEqual({ code, signal }, { code: 3, signal: null }, stderr);
            assert.ok(stderr.includes(`${weights}: `), stderr);
            faulted = stderr.includes('cannot be read any more');
        }
        assert.ok(faulted, 'the cut was always noticed between two steps');
    } finally {
        sandbox.close();
    }
});
