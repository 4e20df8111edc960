// Commit messages by the server's command, and what is made ready before it is asked.
import assert from 'node:assert/strict';
import test from 'node:test';
import { startActing } from './support/acting_client.js';
import { repository, stage } from './support/committing.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';

const REQUEST_FAILED = -32803;
const CANCELLED = -32800;

async function served({ script, engineOptions = {}, ...options }, body) {
    const sandbox = new Sandbox();
    const repo = repository(sandbox);
    const engine = await startScriptedEngine({ script, ...engineOptions });
    const client = await startActing({ sandbox, endpoint: engine.endpoint, ...options });
    try {
        await client.waitForStatus(engineOptions.foreign ? 'degraded' : 'ready');
        await body({ sandbox, engine, client, ...repo });
    } finally {
        await client.close();
        await engine.close();
        sandbox.close();
    }
}

test('the server command: message, files, omissions, progress', async () => {
    await served({ script: 'Add a file' }, async (s) => {
        const none = await s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        assert.equal(none.error.code, REQUEST_FAILED);
        assert.match(none.error.message, /nothing is staged/);
        stage(s, { 'a.c': 'int a;\n', 'yarn.lock': 'x\n' });
        const result = await s.client.execute('dbrx-ls.commitMessage', { folder: s.client.uri('.') });
        assert.equal(result.message, 'Add a file\n');
        assert.deepEqual(result.files.map((file) => file.path), ['a.c', 'yarn.lock']);
        assert.deepEqual(result.omitted, ['yarn.lock: named only (a lock file)']);
        const kinds = [...s.client.progress.values()].at(-1).map((value) => value.kind);
        assert.deepEqual([kinds[0], kinds.at(-1)], ['begin', 'end']);
        assert.equal(s.git('status', '--porcelain').trim(), 'A  a.c\nA  yarn.lock', 'nothing was committed');
    });
});

test('the budget of the settings, where it is the larger one', async () => {
    const engineOptions = { handshake: { max_model_len: 65536 } };
    await served({ script: 'Add values', settings: { budgetTokens: 24000 }, engineOptions }, async (s) => {
        const lines = Array.from({ length: 4000 }, (_, i) => `int value_${i} = ${i * 7919};\n`).join('');
        stage(s, { 'a.c': lines, 'b.c': lines.replaceAll('value', 'other') });
        const { message } = await s.client.execute('dbrx-ls.commitMessage', {});
        assert.equal(message, 'Add values\n');
        const sizes = s.engine.requests.map(({ ids }) => ids.length);
        assert.ok(sizes.every((n) => n <= 24000) && Math.max(...sizes) > 20000, `${sizes}`);
    });
});

test('the progress of a message counts parts and tokens', async () => {
    const script = { text: 'Add values to the list of all that is known', pieceBytes: 6, pieceMs: 60 };
    await served({ script }, async (s) => {
        const told = () => [...s.client.progress.values()].at(-1).map((value) => value.message ?? '');
        stage(s, { 'a.c': 'int a;\n' });
        await s.client.execute('dbrx-ls.commitMessage', {});
        assert.ok(told().some((words) => /^[1-9][0-9]* tokens$/.test(words)), `${told()}`);
        const lines = Array.from({ length: 3000 }, (_, i) => `int value_${i} = ${i * 7919};\n`).join('');
        stage(s, { 'b.c': lines, 'c.c': lines });
        await s.client.execute('dbrx-ls.commitMessage', {});
        assert.ok(told().some((words) => /^part 2 of [3-8], [0-9]+ tokens$/.test(words)), `${told()}`);
    });
});

test('the server command can be cancelled, and shutdown ends its process', async () => {
    await served({ script: { hang: true } }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const answer = s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        await s.engine.until(() => s.engine.requests.length === 1, 'the question');
        const [token] = [...s.client.progress.keys()];
        s.client.connection.sendNotification('window/workDoneProgress/cancel', { token });
        assert.equal((await answer).error.code, CANCELLED);
        await s.engine.until(() => s.engine.requests[0].closedBy === 'client', 'the stream to close');
        const second = s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        await s.engine.until(() => s.engine.requests.length === 2, 'the question');
        await s.client.shutdown();
        assert.equal((await second).error.code, CANCELLED);
        await s.engine.until(() => s.engine.requests[1].closedBy === 'client', 'the stream to close');
    });
});

test('what is staged is read ahead of the question; another stage and the question end that', async () => {
    let blocked = true;
    const warm = (request) => new Promise((done) => {
        const look = setInterval(() => {
            if (blocked && !request.closedBy) return;
            clearInterval(look);
            done();
        }, 20);
    });
    await served({ script: 'Add files', engineOptions: { warm } }, async (s) => {
        const staged = (n) => s.engine.until(() => s.engine.warms.length === n, `warm request ${n}`);
        stage(s, { 'a.c': 'int first;\n' });
        await staged(1);
        const [first] = s.engine.warms;
        assert.equal(first.body.max_tokens, 0);
        assert.equal(first.body.dbrx.priority, 'warm');
        assert.match(first.prompt, /A a\.c \+1 -0[^]*\+int first;/);

        stage(s, { 'b.c': 'int second;\n' });
        await s.engine.until(() => first.closedBy === 'client', 'the work for the old stage to end');
        await staged(2);
        assert.match(s.engine.warms[1].prompt, /\+int first;[^]*\+int second;/);

        // Nothing is staged any more: nothing is read.
        s.git('reset', '-q');
        await s.engine.until(() => s.engine.warms[1].closedBy === 'client', 'the work to end');

        s.git('add', 'a.c');
        await staged(3);
        const result = await s.client.execute('dbrx-ls.commitMessage', {});
        assert.equal(result.message, 'Add files\n');
        assert.equal(s.engine.warms[2].closedBy, 'client', 'the question itself ends it');

        // Read to its end, it is the question's beginning and its all.
        blocked = false;
        s.git('add', 'b.c');
        await staged(4);
        await s.engine.until(() => s.engine.warms[3].closedBy, 'the warm request to be answered');
        const { tokens, tokens_reused } = await s.client.execute('dbrx-ls.commitMessage', {});
        assert.deepEqual(s.engine.requests.at(-1).ids, s.engine.warms[3].ids);
        assert.ok(tokens_reused >= tokens - 1, `${tokens_reused} of ${tokens}`);
        assert.equal(s.engine.warms.length, 4);
    });
});

test('nothing is read ahead where the user does not want it, or a foreign engine would not know', async () => {
    for (const options of [{ settings: { warm: false } }, { engineOptions: { foreign: true } }]) {
        await served({ script: 'Add a file', ...options }, async (s) => {
            stage(s, { 'a.c': 'int a;\n' });
            await new Promise((done) => { setTimeout(done, 4000); }); // longer than a stage is waited for
            assert.equal(s.engine.warms.length + s.engine.requests.length, 0);
        });
    }
});
