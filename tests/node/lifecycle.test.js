// The local engine's life as fronts see it: started once, found by all, killed, stopped, robbed of
// its socket, replaced; and after each of these the next completion is answered.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers, engineLog, engines, gone, LONG, PREFILL, SHORT, SLOW, starts, withFronts }
    from './support/lifecycle.js';
import { Sandbox } from './support/sandbox.js';
import { eventually } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

let models, model, other;

before(() => {
    models = new Sandbox();
    model = makeTinyModel(path.join(models.work, 'tiny-dbrx'), SLOW);
    other = makeTinyModel(path.join(models.work, 'other-dbrx'), { ...SLOW, seed: 8 });
});
after(() => models.close());

const withSandbox = (body) => withFronts(model, body);

/** Kills the engine when `when` says so; the call under way ends once, and the next is answered. */
async function killedDuring(driver, sandbox, id, when) {
    await eventually('the moment', when);
    const pid = sandbox.enginePid();
    process.kill(pid, 'SIGKILL');
    const done = await driver.done(id);
    assert.notEqual(done.code, 'ok');
    assert.ok(done.reason);
    await gone(pid);
    await driver.until((s) => s.state !== 'ready');
    await driver.until('ready');
    assert.notEqual(sandbox.enginePid(), pid);
    await answers(driver);
    return done;
}

describe('one front', { concurrency: 3 }, () => {
    test('starts an engine that belongs to nobody', () => withSandbox(async (sandbox, open) => {
        const driver = open();
        await driver.until('ready');
        assert.deepEqual([driver.status.model, driver.status.local, driver.status.ours],
            ['tiny-dbrx', true, true]);
        await answers(driver);
        const pid = sandbox.enginePid();
        assert.deepEqual(engines(sandbox), [pid]);
        const [parent, , session] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
            .replace(/^.*\) . /, '').split(' ').map(Number);
        assert.notEqual(parent, driver.child.pid);
        const sessionOf = (p) => Number(fs.readFileSync(`/proc/${p}/stat`, 'utf8')
            .replace(/^.*\) . /, '').split(' ')[2]);
        assert.notEqual(session, sessionOf(driver.child.pid));
        // Nothing of the front's stays open in it: no pipe of an editor, above all.
        const fds = fs.readdirSync(`/proc/${pid}/fd`).map(Number).sort((a, b) => a - b)
            .map((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`));
        assert.deepEqual(fds.slice(0, 3), ['/dev/null', '/dev/null', engineLog(sandbox)]);
        assert.deepEqual(fds.filter((to) => to.startsWith('pipe:')), []);
        assert.ok(fds.includes(path.join(sandbox.runtime, 'dbrx-ls/engine.lock')));
        // No child of the front is left, living or zombie.
        const children = fs.readFileSync(
            `/proc/${driver.child.pid}/task/${driver.child.pid}/children`, 'utf8');
        assert.equal(children, '');
    }));

    test('survives kill -9 of the engine in load, prefill and stream', () =>
        withSandbox(async (sandbox, open) => {
            const driver = open();
            const first = await eventually('an engine', () => sandbox.enginePid());
            process.kill(first, 'SIGKILL');
            await eventually('another', () => ![null, first].includes(sandbox.enginePid()));
            await driver.until('ready');
            await answers(driver);
            const stream = driver.begin(LONG);
            const cut = await killedDuring(driver, sandbox, stream, () => driver.textOf(stream));
            assert.equal(cut.cut, true);
            const prefill = driver.begin(PREFILL);
            const before_ = Date.now();
            await killedDuring(driver, sandbox, prefill, () => Date.now() - before_ > 30);
        }));

    test('waits for a stopped engine, says so, and goes on with it', () =>
        withSandbox(async (sandbox, open) => {
            const driver = open();
            await driver.until('ready');
            const pid = sandbox.enginePid();
            process.kill(pid, 'SIGSTOP');
            const done = await driver.complete(SHORT, 60000);
            assert.equal(done.code, 'network');
            assert.match(done.reason, /does not answer/);
            assert.match((await driver.until('off')).reason, /does not answer/);
            const quick = await driver.complete(SHORT);
            assert.equal(quick.code, 'network');
            process.kill(pid, 'SIGCONT');
            await driver.until('ready');
            assert.equal(sandbox.enginePid(), pid);
            await answers(driver);
        }));

    test('replaces an engine that has lost its socket', () => withSandbox(async (sandbox, open) => {
        const driver = open();
        await driver.until('ready');
        const pid = sandbox.enginePid();
        fs.unlinkSync(path.join(sandbox.runtime, 'dbrx-ls/engine.sock'));
        // One call may find a connection that was kept; of two, one must make its own.
        const both = [driver.begin(LONG), driver.begin(LONG)];
        const dones = await Promise.all(both.map((id) => driver.done(id)));
        assert.ok(dones.some((done) => done.code === 'network'), JSON.stringify(dones));
        await gone(pid);
        await driver.until('ready');
        await answers(driver);
        assert.equal(engines(sandbox).length, 1);
    }));

    test('says why an engine cannot load, and does not start it in a loop', () =>
        withSandbox(async (sandbox, open) => {
            const driver = open({ model: path.join(sandbox.work, 'absent') });
            const off = await driver.until('off');
            assert.match(off.reason, /absent/);
            await sleep(5000);
            assert.ok(starts(sandbox) <= 3, `${starts(sandbox)} starts in 5 s`);
            assert.equal((await driver.complete(SHORT)).code === 'ok', false);
        }));

    test('says why a program cannot be started', () => withSandbox(async (sandbox, open) => {
        const driver = open({ program: path.join(sandbox.work, 'nothing') });
        assert.match((await driver.until('off')).reason, /cannot run .*nothing: No such file/);
    }));

    test('goes on after an engine left idle', () => withSandbox(async (sandbox, open) => {
        const first = open({ idle: 1 });
        await first.until('ready');
        const pid = sandbox.enginePid();
        await sleep(2500); // the lease holds it
        assert.equal(sandbox.enginePid(), pid);
        await answers(first);
        await first.close();
        await gone(pid);
        assert.deepEqual(engines(sandbox), []);
        const second = open({ idle: 1 });
        await second.until('ready');
        await answers(second);
    }));

    test('keeps what came by the deadline', () => withSandbox(async (sandbox, open) => {
        const driver = open();
        await driver.until('ready');
        const id = driver.begin({ ...LONG, deadline_ms: 400 });
        const done = await driver.done(id);
        assert.deepEqual([done.code, done.finish, done.cut], ['ok', 'deadline', false]);
        assert.ok(driver.textOf(id).length > 0);
        await answers(driver);
    }));

    test('cancels at once', () => withSandbox(async (sandbox, open) => {
        const driver = open();
        await driver.until('ready');
        const id = driver.begin(LONG);
        await eventually('text', () => driver.textOf(id));
        driver.send({ do: 'cancel', id });
        assert.equal((await driver.done(id)).code, 'cancelled');
        const came = driver.textOf(id);
        await answers(driver);
        assert.equal(driver.textOf(id), came);
    }));
});

describe('several fronts', { concurrency: 2 }, () => {
    test('starting at once share one engine', async () => {
        for (let round = 0; round < 5; round++)
            await withSandbox(async (sandbox, open) => {
                const fronts = [open(), open(), open()];
                await Promise.all(fronts.map((front) => front.until('ready')));
                assert.equal(engines(sandbox).length, 1);
                await Promise.all(fronts.map((front) => answers(front)));
                assert.equal(starts(sandbox), 1);
            });
    });

    test('all come back when it is killed', () => withSandbox(async (sandbox, open) => {
        const fronts = [open(), open()];
        await Promise.all(fronts.map((front) => front.until('ready')));
        process.kill(sandbox.enginePid(), 'SIGKILL');
        await Promise.all(fronts.map((front) => front.until((s) => s.state !== 'ready')));
        await Promise.all(fronts.map((front) => front.until('ready')));
        await Promise.all(fronts.map((front) => answers(front)));
        assert.equal(engines(sandbox).length, 1);
    }));

    test('that want another model are told which one runs', () => withSandbox(async (sandbox, open) => {
        const first = open();
        await first.until('ready');
        const second = open({ model: other });
        const status = await second.until('degraded');
        assert.match(status.reason, /tiny-dbrx.*other-dbrx/);
        assert.equal(status.model, 'tiny-dbrx');
        await answers(second);
        const third = open({ model: '/nowhere/missing-dbrx' });
        assert.match((await third.until('degraded')).reason, /tiny-dbrx.*missing-dbrx/);
        assert.equal(engines(sandbox).length, 1);
    }));

    test('replace an engine of another api', () => withSandbox(async (sandbox, open) => {
        const runtime = path.join(sandbox.runtime, 'dbrx-ls');
        fs.mkdirSync(runtime, { mode: 0o700 });
        const script = `
            const fs = require('node:fs'), http = require('node:http');
            fs.writeSync(9, process.pid + '\\n');
            http.createServer((q, r) => r.end(JSON.stringify({ api: 99, version: '9.9.9' })))
                .listen('engine.sock', () => console.log('up'));`;
        const old = spawn('sh', ['-c', 'exec 9>engine.lock && flock -n 9 && exec "$0" -e "$1"',
            process.execPath, script], { cwd: runtime, env: sandbox.env() });
        await new Promise((resolve) => old.stdout.once('data', resolve));
        const ended = new Promise((resolve) => old.once('exit', (code, signal) => resolve(signal)));
        const driver = open();
        await driver.until('ready');
        assert.equal(await ended, 'SIGTERM');
        assert.ok(driver.events.some((e) => /replacing the engine of version 9\.9\.9/.test(e.reason)));
        await answers(driver);
    }));
});
