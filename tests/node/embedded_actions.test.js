// Actions and commit messages with the embedded model, which is too small to be right: whatever it says, each
// question has one answer, and what becomes of the text is one of the outcomes that are said.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { startActing } from './support/acting_client.js';
import { repository, stage } from './support/committing.js';
import { Sandbox } from './support/sandbox.js';

const REFUSALS = /does not parse|cut off|would change nothing|is empty|no place in source|comments may change|more than names|out of room|takes [0-9]+ tokens|repeat|over and over|larger than any/;

test('with the embedded model every action ends as one of those that are said', async () => {
    const sandbox = new Sandbox();
    const files = ['ring.c', 'shelf.py', 'queue.js', 'matrix.go', 'words.rs'];
    for (const file of files)
        sandbox.write({ [file]: fs.readFileSync(new URL(`../fixtures/${file}`, import.meta.url), 'utf8') });
    const repo = repository(sandbox);
    const client = await startActing({ sandbox });
    try {
        await client.waitForStatus('ready');
        for (const file of files) {
            const uri = client.open(file);
            const at = { line: client.text(uri).split('\n').findIndex((line) => /^\s+(return|let) /.test(line)), character: 4 };
            for (const name of ['explain', 'simplify', 'document']) {
                const before = client.text(uri);
                const { result, error } = await client.act(name, uri, { start: at, end: at });
                if (error) assert.match(error.message, REFUSALS, `${name} of ${file}`);
                else assert.equal(result.outcome, name === 'explain' ? 'explained' : 'applied');
                if (error || name === 'explain') assert.equal(client.text(uri), before);
            }
        }
        stage({ sandbox, ...repo }, { 'list.c': 'int list;\n' });
        const { result, error } = await client.settled(client.execute('dbrx-ls.commitMessage', {}));
        if (error) assert.match(error.message, REFUSALS);
        else assert.match(result.message, /^.{1,72}\n(\n(.{0,72}\n)+)?$/);
    } finally {
        await client.close();
        sandbox.close();
    }
});

test('an engine that is killed is started again, and what is asked meanwhile waits for it', async () => {
    const sandbox = new Sandbox();
    sandbox.write({ 'ring.c': fs.readFileSync(new URL('../fixtures/ring.c', import.meta.url), 'utf8') });
    const client = await startActing({ sandbox });
    try {
        await client.waitForStatus('ready');
        const uri = client.open('ring.c');
        process.kill(sandbox.enginePid(), 'SIGKILL');
        // The status tells at most four times a second: an engine that is back by then was never away for it.
        await client.until(() => client.stderr.includes('the engine ended'), 'what the server says of it');
        const at = { line: 24, character: 8 };
        const { result, error } = await client.act('explain', uri, { start: at, end: at });
        assert.equal(error, undefined, error?.message);
        assert.equal(result.outcome, 'explained');
    } finally {
        await client.close();
        sandbox.close();
    }
});
