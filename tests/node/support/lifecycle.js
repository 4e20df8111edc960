// Fronts and their one engine, for tests that start, kill, stop and rob it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Driver } from './driver.js';
import { Sandbox } from './sandbox.js';
import { eventually } from './service.js';

/** A model whose long answers take seconds: there must be time to kill it. */
export const SLOW = { width: 256, layers: 12, endless: true };
export const SHORT = { tokens: [5, 6, 7], max_tokens: 4 };
export const LONG = { tokens: [5, 6, 7], max_tokens: 1000 };
export const PREFILL = { tokens: Array.from({ length: 3000 }, (_, i) => 5 + (i * 7) % 900), max_tokens: 4 };

/** A sandbox with its fronts, which must all close in order. `body` gets it and a way to open one. */
export async function withFronts(model, body) {
    const sandbox = new Sandbox();
    const drivers = [];
    const open = (options) => {
        drivers.push(new Driver(sandbox, { model, idle: 20, ...options }));
        return drivers.at(-1);
    };
    try {
        await body(sandbox, open);
        for (const driver of drivers) await driver.close();
    } finally {
        for (const driver of drivers) driver.child.kill('SIGKILL');
        sandbox.close();
    }
}

export const engines = (sandbox) => sandbox.pids().filter((pid) => {
    try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1] === 'serve';
    } catch {
        return false;
    }
});

export const engineLog = (sandbox) => path.join(sandbox.state, 'dbrx-ls/engine.log');
export const starts = (sandbox) =>
    fs.readFileSync(engineLog(sandbox), 'utf8').split('\n').filter((l) => l.includes('listening on')).length;

export async function answers(driver) {
    const done = await driver.complete(SHORT);
    assert.equal(done.code, 'ok', done.reason);
    assert.equal(done.n_output, 4);
}

export const gone = (pid) => eventually(`end of ${pid}`, () => {
    try { return / [ZX] /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')); } catch { return true; }
});
