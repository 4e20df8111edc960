// A GPU under the real program, and one that fails under a real engine with a real front, the GPU being an emulated one whose faults
// stand in a file (tests/cuda/emulated_backend.c): the engine ends with exit code 3 and a line that says
// why, answers nothing behind it, and the front starts it again and says so.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers, engineLog, gone, LONG, withFronts } from './support/lifecycle.js';
import { build } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const program = path.join(build, 'tests/dbrx-ls-emulated');
const fault = (sandbox, word) => {
    const file = path.join(sandbox.runtime, 'emulated-gpu');
    if (word) fs.writeFileSync(file, word);
    else fs.rmSync(file, { force: true });
};

let models, model;
before(() => {
    models = new Sandbox();
    model = makeTinyModel(path.join(models.work, 'tiny-dbrx'), { layers: 1, endless: true });
});
after(() => models.close());

/** An engine of its own on a socket; `body` gets it ready. */
async function withEngine(args, body) {
    const sandbox = new Sandbox();
    const service = new Service(sandbox, [], { command: [program, 'serve', '--model', model, '--kv-tokens', '4096', ...args] });
    try {
        await body(service, sandbox);
    } finally {
        service.child.kill('SIGKILL');
        sandbox.close();
    }
}

const ask = (service, max_tokens) =>
    service.post('/v1/completions', { model: 'tiny-dbrx', prompt: [5, 6, 7], max_tokens, temperature: 0 });

// `program` finds whatever this machine has, which for a test is most often nothing.
test('auto without a GPU says what it took instead, and why', async () => {
    const sandbox = new Sandbox();
    const service = new Service(sandbox, ['--model', model, '--kv-tokens', '4096']);
    try {
        await service.ready();
        assert.match(service.stderr, /engine: backend auto takes (cuda [^\n]+|cpu [^\n]+: backend "cuda"[^\n]+)\n/);
    } finally {
        service.child.kill('SIGKILL');
        sandbox.close();
    }
});

describe('the engine', { concurrency: 2 }, () => {
    test('auto takes the GPU and says so in one line', () => withEngine(['--backend', 'auto'], async (service) => {
        await service.ready();
        assert.match(service.stderr, /engine: backend auto takes cuda emulated, without cuBLASLt\n/);
        assert.equal((await ask(service, 3)).status, 200);
    }));

    for (const kind of ['lost', 'launch'])
        test(`${kind}: exit code 3, a line that says why, no answer behind it`, () =>
            withEngine(['--backend', 'cuda'], async (service, sandbox) => {
                await service.ready();
                assert.equal((await ask(service, 3)).status, 200);
                fault(sandbox, kind);
                const failed = await ask(service, 200);
                const begun = Date.now();
                assert.equal(failed.status, 500, failed.text);
                // Whoever asks in its last moments gets an error or no connection.
                const late = await ask(service, 3).catch(() => ({ status: 0 }));
                assert.notEqual(late.status, 200);
                const end = await service.exited;
                assert.equal(end.code, 3);
                assert.ok(end.at - begun < 20000, 'a watchdog of ten times two seconds');
                assert.match(service.stderr, /dbrx-ls serve: the compute device failed: cuda: [^\n]+: failed\n$/);
                assert.equal(fs.existsSync(service.socketPath), false);
            }));

    test('hang: a step that never ends ends the engine, with exit code 3 and a line', () =>
        withEngine(['--backend', 'cuda', '--device-patience', '1'], async (service, sandbox) => {
            await service.ready();
            assert.equal((await ask(service, 3)).status, 200);
            fault(sandbox, 'hang');
            const failed = await ask(service, 200).catch(() => ({ status: 0 }));
            assert.notEqual(failed.status, 200);
            assert.equal((await service.exited).code, 3);
            assert.match(service.stderr,
                /dbrx-ls serve: the compute device failed: a step: it has not answered for 1 s and more\n$/);
        }));

    test('hang: told to end meanwhile, it ends all the same', () =>
        withEngine(['--backend', 'cuda', '--device-patience', '1', '--drain', '0'], async (service, sandbox) => {
            await service.ready();
            assert.equal((await ask(service, 3)).status, 200);
            fault(sandbox, 'hang');
            const failed = ask(service, 200).catch(() => ({ status: 0 }));
            await sleep(500); // until the request is inside the step that hangs
            service.child.kill('SIGTERM');
            assert.notEqual((await failed).status, 200);
            assert.equal((await service.exited).code, 3);
            assert.match(service.stderr, /dbrx-ls serve: the compute device failed: [^\n]+\n$/);
        }));

    test('hang: while loading, too', () =>
        withEngine(['--backend', 'cuda', '--device-patience', '1'], async (service, sandbox) => {
            fault(sandbox, 'hang');
            assert.equal((await service.exited).code, 3);
            assert.match(service.stderr,
                /dbrx-ls serve: the compute device failed: opening the GPU: it has not answered for 10 s and more\n$/);
        }));

    test('no memory while loading: exit code 1 with the numbers', () =>
        withEngine(['--backend', 'cuda'], async (service, sandbox) => {
            fault(sandbox, 'memory');
            const { code } = await service.exited;
            assert.equal(code, 1);
            assert.match(service.stderr, /dbrx-ls serve: cuda: the workspace: no memory for \d+ MiB, \d+ MiB are free/);
        }));

    test('a GPU that is not there, a share that is none: one line', () => {
        const run = (...args) => spawnSync(program, ['serve', '--model', model, ...args], { env: models.env(), encoding: 'utf8' });
        const none = run('--backend', 'cuda', '--device', '3');
        assert.equal(none.status, 1);
        assert.match(none.stderr, /dbrx-ls serve: backend "cuda": GPU 3 does not answer: no device\n$/);
        assert.match(run('--memory-fraction', '7').stderr, /--memory-fraction: found 7/);
    });

    test('doctor: memory of the GPU, in streams of 8k', () => {
        const out = spawnSync(program, ['doctor', '--json', '--backend', 'cuda', '--model', model],
            { env: models.env(), encoding: 'utf8' }).stdout;
        const rows = JSON.parse(out).rows;
        assert.match(rows.find((r) => r.name === 'kernels').value, /^cuda emulated, without cuBLASLt/);
        assert.match(rows.find((r) => r.name === 'memory').value, /\d+ KV tokens \([\d.]+ contexts, \d+ streams of 8k\)/);
    });
});

test('bench --synthetic: JSON, a table on stderr, lines in a file, wrong use', () => {
    const lines = path.join(models.directory, 'lines');
    const run = (...args) => spawnSync(program, ['bench', '--synthetic', ...args], { env: models.env(), encoding: 'utf8' });
    const done = run('tiny', '--quick', '--format', 'int4', '--repeats', '1', '--budget-s', '15', '--json', '--lines', lines);
    assert.equal(done.status, 0, done.stderr);
    const { machine, cells, stopped } = JSON.parse(done.stdout);
    assert.deepEqual([machine.device, machine.expert_weights, stopped], ['emulated', 'int4', false]);
    assert.deepEqual(fs.readFileSync(lines, 'utf8').trimEnd().split('\n').map((l) => JSON.parse(l)), [machine, ...cells]);
    assert.ok(cells.some((c) => c.kind === 'decode' && c.share_of_ceiling > 0 && c.share_of_ceiling <= 1));
    assert.match(done.stderr, /\ndecode +1 +1 +16 /);
    assert.match(run('huge').stderr, /^dbrx-ls bench: --synthetic: found "huge", expected dbrx\n$/);
    assert.equal(run('tiny', '--format', 'int8').status, 2);
});

test('the front starts it again, says why, and answers', () => withFronts(model, async (sandbox, open) => {
    const driver = open({ program, backend: 'cuda' });
    await driver.until('ready');
    await answers(driver);
    const pid = sandbox.enginePid();
    const id = driver.begin(LONG);
    await eventually('text', () => driver.textOf(id));
    fault(sandbox, 'lost');
    const done = await driver.done(id);
    assert.notEqual(done.code, 'ok');
    await gone(pid);
    // While the GPU is away every start fails, later and later.
    const told = await driver.until((s) => /compute device failed|no GPU answers/.test(s.reason ?? ''));
    assert.notEqual(told.state, 'ready');
    await driver.until((s) => s.state === 'off');
    fault(sandbox);
    await driver.until('ready', 40000);
    await answers(driver);
    assert.notEqual(sandbox.enginePid(), pid);
    assert.match(fs.readFileSync(engineLog(sandbox), 'utf8'), /dbrx-ls serve: the compute device failed: cuda: /);
}));
