// Code actions: a real LSP client, the real server, and the scripted engine that sees every prompt.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { rangeOf, startActing } from './support/acting_client.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { hostile } from './support/scripts.js';

const FEATURES = ['token_ids', 'lease', 'priority', 'deadline', 'must_start_with', 'predicted'];
const REQUEST_FAILED = -32803;
const CONTENT_MODIFIED = -32801;
const CANCELLED = -32800;

const SUM = `#include <stdio.h>

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
const LOOP = `    for (int i = 0; i < n; i++) {
        total = total + values[i];
    }`;
const SHORT_LOOP = `    for (int i = 0; i < n; i++)
        total += values[i];`;

/** An answer that begins as it was told to and ends with its fence. */
const answer = (code, end = '\n```') => (request) => {
    const must = Buffer.from(request.body.dbrx?.must_start_with ?? '', 'base64').toString();
    const open = request.prompt.slice(request.prompt.lastIndexOf('<|im_start|>assistant\n') + 22);
    const whole = `${open}${must}`;
    const said = whole.slice(whole.indexOf('\n') + 1); // the first indentation
    assert.ok(code.startsWith(said), `the code begins as the prompt does: ${JSON.stringify(said)}`);
    return must + code.slice(said.length) + end;
};

/** Runs `body(client, engine, uri, name)` with files in the workspace, the first of them open. */
async function session({ files = { 'sum.c': SUM }, script, ...options }, body) {
    const sandbox = options.sandbox ?? new Sandbox();
    sandbox.write(files);
    const engine = await startScriptedEngine({
        script,
        handshake: { features: FEATURES, ...options.handshake },
    });
    let client = null;
    try {
        client = await startActing({ sandbox, endpoint: engine.endpoint, ...options });
        await client.waitForStatus('ready');
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

const names = (list) => list.map((action) => action.command.command.replace('dbrx-ls.', ''));

test('the list: what is offered when, with commands and no edits', async () => {
    await session({ script: 'never asked' }, async (client, engine, uri) => {
        const selected = rangeOf(SUM, LOOP);
        const cursor = { start: selected.start, end: selected.start };
        const diagnostics = [{ range: selected, message: 'wrong' }];
        const refactor = ['simplify', 'extract', 'rename', 'rewrite'];
        const table = [
            // context, range, what is listed
            [{ triggerKind: 2 }, cursor, []],
            [{ triggerKind: 2, diagnostics }, cursor, ['fix']],
            [{ triggerKind: 2 }, selected, ['explain', ...refactor]],
            [{ triggerKind: 2, diagnostics }, selected, ['fix', 'explain', ...refactor]],
            [{}, cursor, ['explain', 'simplify', 'rename', 'rewrite', 'document', 'tests', 'translate']],
            [{ diagnostics }, selected, ['fix', 'explain', ...refactor, 'document', 'tests', 'translate']],
            [{ only: ['quickfix'], diagnostics }, selected, ['fix']],
            [{ only: ['refactor'] }, selected, [...refactor, 'document', 'translate']],
            [{ only: ['refactor.rewrite'] }, cursor, ['simplify', 'rename', 'rewrite', 'document', 'translate']],
            [{ only: ['refactor.rewrite.more'] }, selected, []],
            [{ only: ['refac'] }, selected, []],
            [{ only: ['source'] }, selected, []],
            [{ only: ['source.fixAll'], diagnostics }, selected, []],
            [{ only: [''] }, selected, ['explain', 'tests']],
        ];
        for (const [context, range, expected] of table) {
            const list = await client.actions(uri, range, context);
            assert.deepEqual(names(list), expected, JSON.stringify(context));
            for (const action of list) {
                assert.ok(action.command && !('edit' in action) && !('data' in action));
                assert.ok(!('isPreferred' in action) && !action.kind.startsWith('source'));
                assert.deepEqual(action.tags, [1]);
            }
        }
        const can = client.initialized.capabilities;
        assert.deepEqual([...can.codeActionProvider.codeActionKinds].sort(), ['', 'quickfix', 'refactor.rewrite']);
        assert.ok(!can.codeActionProvider.resolveProvider);
        assert.ok(can.executeCommandProvider.commands.every((name) => name.startsWith('dbrx-ls.')));
        assert.equal(engine.requests.length, 0, 'a list asks no model');
    });
});

test('a client without literals gets commands, one without tags no tags', async () => {
    const textDocument = { synchronization: {}, inlineCompletion: {}, codeAction: {} };
    await session({ capabilities: { textDocument }, script: '' }, async (client, engine, uri) => {
        const [first] = await client.actions(uri, rangeOf(SUM, LOOP));
        assert.deepEqual(Object.keys(first).sort(), ['arguments', 'command', 'title']);
        assert.equal(first.command, 'dbrx-ls.explain');
    });
});

test('an edit: prompt, progress with tokens, versioned edit, the reply after the change', async () => {
    const script = (request) => ({ text: answer(SHORT_LOOP)(request), pieceBytes: 4, pieceMs: 30 });
    await session({ script }, async (client, engine, uri) => {
        const { result, error } = await client.act('simplify', uri, rangeOf(SUM, 'for (', 'values[i];'));
        assert.equal(error, undefined);
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), SUM.replace(LOOP, SHORT_LOOP));
        const [{ edit, label }] = client.edits;
        assert.equal(label, 'Simplify');
        assert.deepEqual(edit.documentChanges[0].textDocument, { uri, version: 1 });
        const [values] = [...client.progress.values()];
        assert.equal(values[0].kind, 'begin');
        assert.equal(values[0].cancellable, true);
        assert.ok(values.some((value) => value.kind === 'report' && /^[0-9]+ tokens$/.test(value.message)));
        assert.equal(values.at(-1).kind, 'end');

        const [request] = engine.requests;
        assert.equal(request.body.dbrx.priority, 'action');
        assert.equal(request.body.dbrx.predicted, LOOP.trim());
        assert.ok(request.body.temperature === 0);
        const { prompt } = request;
        assert.match(prompt, /^<\|im_start\|>system\nYou are the code engine of an editor\./);
        assert.ok(prompt.includes('File: sum.c (C).\n'));
        assert.ok(prompt.includes(`The piece, lines 7 to 9:\n\`\`\`c\n${LOOP}\n\`\`\`\nTask: Simplify the piece`));
        const above = prompt.indexOf('Above the piece:\n```c\n#include <stdio.h>\n');
        const below = prompt.indexOf('Below the piece:\n```c\n    return total;\n');
        assert.ok(above > 0 && below > above);
        const must = Buffer.from(request.body.dbrx.must_start_with, 'base64').toString();
        assert.ok(`${prompt}${must}`.endsWith('<|im_start|>assistant\n```c\n    '));
    });
});

test('a change elsewhere moves the target, one inside cancels', async () => {
    const gate = {};
    const held = () => new Promise((open) => { gate.open = open; });
    const script = async (request) => {
        await held();
        return answer(SHORT_LOOP)(request);
    };
    await session({ script }, async (client, engine, uri) => {
        const selected = rangeOf(SUM, LOOP);
        const moved = client.act('simplify', uri, selected);
        await engine.until(() => engine.requests.length === 1 && gate.open, 'the question');
        const top = { line: 0, character: 0 };
        client.change(uri, { start: top, end: top }, '// one\n// two\n');
        const last = { line: 2 + SUM.split('\n').length - 1, character: 0 };
        client.change(uri, { start: last, end: last }, '// end\n');
        gate.open();
        assert.equal((await moved).result.outcome, 'applied');
        assert.equal(client.text(uri), `// one\n// two\n${SUM.replace(LOOP, SHORT_LOOP)}// end\n`);

        const text = client.text(uri);
        const sent = client.edits.length; // 2 when the answer came before the changes were seen
        gate.open = null;
        const cancelled = client.act('simplify', uri, rangeOf(text, SHORT_LOOP));
        await engine.until(() => engine.requests.length === 2 && gate.open, 'the question');
        const { start } = rangeOf(text, 'total += values');
        client.change(uri, { start, end: start }, 'x');
        const { error } = await cancelled;
        gate.open();
        assert.equal(error.code, CANCELLED);
        assert.equal(client.edits.length, sent);
        await engine.until(() => engine.requests[1].closedBy === 'client', 'the stream to close');
    });
});
