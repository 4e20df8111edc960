// The local engine's life, often and with chance: for `make test-all`. One line per case, as in TAP.
import assert from 'node:assert/strict';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers, engines, gone, LONG, PREFILL, SHORT, SLOW, starts, withFronts }
    from './support/lifecycle.js';
import { Sandbox } from './support/sandbox.js';
import { makeTinyModel } from './support/tiny_model.js';

const models = new Sandbox();
const model = makeTinyModel(path.join(models.work, 'tiny-dbrx'), SLOW);
const seed = Number(process.env.SEED ?? 1);
let state = seed;
/** Numbers that a failure can be repeated with (Lehmer 1951, modulus 2^31 - 1). */
const chance = (below) => { state = (state * 48271) % 0x7fffffff; return state % below; };

async function startedAtOnce() {
    for (let round = 0; round < 50; round++)
        await withFronts(model, async (sandbox, open) => {
            const fronts = [open(), open()];
            await Promise.all(fronts.map((front) => front.until('ready', 60000)));
            assert.equal(engines(sandbox).length, 1, `round ${round}`);
            await Promise.all(fronts.map((front) => answers(front)));
            assert.equal(starts(sandbox), 1, `round ${round}`);
        });
}

/** At any moment: loading, idle, in a prefill, in a stream. */
async function killedAnyTime() {
    await withFronts(model, async (sandbox, open) => {
        for (let round = 0; round < 12; round++) {
            const fronts = [open(), open()];
            await sleep(chance(1500));
            const calls = fronts.map((front) => front.begin([SHORT, LONG, PREFILL][chance(3)]));
            await sleep(chance(600));
            const pid = sandbox.enginePid();
            if (pid) process.kill(pid, 'SIGKILL');
            await Promise.all(fronts.map((front, i) => front.done(calls[i], 60000)));
            if (pid) await gone(pid);
            await Promise.all(fronts.map(async (front) => {
                for (;;) { // a status may be a moment behind the kill
                    await front.until('ready', 120000);
                    if ((await front.complete(SHORT)).code === 'ok') break;
                    await sleep(50);
                }
            }));
            assert.ok(engines(sandbox).length === 1, `seed ${seed}, round ${round}`);
            await Promise.all(fronts.map((front) => front.close()));
        }
    });
}

async function stoppedFor30Seconds() {
    await withFronts(model, async (sandbox, open) => {
        const front = open();
        await front.until('ready');
        const pid = sandbox.enginePid();
        const id = front.begin(LONG);
        await sleep(50);
        process.kill(pid, 'SIGSTOP');
        await sleep(30000);
        assert.equal(front.status.state, 'off');
        const done = front.dones(id);
        assert.equal(done.length, 1);
        process.kill(pid, 'SIGCONT');
        await front.until('ready');
        assert.equal(sandbox.enginePid(), pid);
        await answers(front);
    });
}

async function frontsKilled() {
    await withFronts(model, async (sandbox, open) => {
        const first = open({ idle: 2 });
        await first.until('ready');
        const pid = sandbox.enginePid();
        for (let round = 0; round < 10; round++) {
            const front = open({ idle: 2 });
            await front.until('ready');
            front.begin(LONG);
            await sleep(chance(100));
            front.child.kill('SIGKILL');
            await front.exited;
        }
        assert.equal(sandbox.enginePid(), pid);
        await answers(first);
        await first.close();
        await gone(pid);
    });
}

let failed = 0;
for (const [name, run] of [
    ['two fronts at once share one engine, 50 times', startedAtOnce],
    ['kill -9 of the engine at any moment', killedAnyTime],
    ['an engine stopped for 30 s goes on', stoppedFor30Seconds],
    ['kill -9 of fronts costs others nothing', frontsKilled],
]) {
    try {
        await run();
        console.log(`ok ${name}`);
    } catch (thrown) {
        failed++;
        console.log(`not ok ${name} - ${String(thrown.message).split('\n')[0]}`);
    }
}
models.close();
process.exit(failed ? 1 : 0);
