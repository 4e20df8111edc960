// Code actions: a real LSP client, the real server, and the scripted engine that sees every prompt.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { rangeOf } from './support/acting_client.js';
import {
    answer, CANCELLED, CONTENT_MODIFIED, LOOP, names, refused, REQUEST_FAILED, session, SHORT_LOOP, SUM,
} from './support/acting.js';
import { Sandbox } from './support/sandbox.js';
import { hostile } from './support/scripts.js';

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
            [{ only: [''] }, selected, ['explain', ...refactor, 'document', 'tests', 'translate']],
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
    textDocument.codeAction = { codeActionLiteralSupport: { codeActionKind: { valueSet: [''] } } };
    await session({ capabilities: { textDocument }, script: '' }, async (client, engine, uri) => {
        const [first] = await client.actions(uri, rangeOf(SUM, LOOP));
        assert.deepEqual(Object.keys(first).sort(), ['command', 'kind', 'title']);
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

test('no closing fence: cut off, refused, not asked again', () =>
    refused((request) => answer(SHORT_LOOP, '')(request), /cut off/, { requests: 1 }));

test('a stream that breaks in its middle is refused', () =>
    refused((request) => ({ text: answer(SHORT_LOOP)(request), cutAfterBytes: 20 }), /cut off/));

test('a fence that is cut off is none', () =>
    refused((request) => answer(SHORT_LOOP, '\n``')(request), /cut off/));

test('an answer that ends by its length is refused', () =>
    refused((request) => ({ text: answer(SHORT_LOOP, '')(request), finish: 'length' }), /cut off/));

test('code that does not parse: one repair round with the fault shown, then refused', async () => {
    const broken = '    for (int i = 0; i < n; i++ {\n        total += ];';
    await refused(answer(broken), /does not parse/, { requests: 2 });
    const script = [answer(broken), answer(SHORT_LOOP)];
    await session({ script }, async (client, engine, uri) => {
        const { result } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), SUM.replace(LOOP, SHORT_LOOP));
        const { prompt } = engine.requests[1];
        assert.ok(prompt.startsWith(engine.requests[0].prompt), 'what was computed is used again');
        assert.ok(prompt.includes(broken.trim()), 'the answer stands in the conversation');
        assert.match(prompt, /That cannot be used: the code does not parse: at ".*Answer again/s);
        assert.ok(prompt.endsWith('<|im_start|>assistant\n```c') || prompt.endsWith('```c\n'), prompt.slice(-40));
    });
});

test('the repair round fits the model, and where it cannot there is none', async () => {
    const broken = '    for (int i = 0; i < n; i++ {\n        total += ];';
    for (const [length, requests] of [[2048, 2], [700, 1]]) {
        const said = `${broken}${'\n        total += i;'.repeat(length === 700 ? 40 : 1)}`;
        const handshake = { max_model_len: length };
        await session({ script: answer(said), handshake }, async (client, engine, uri) => {
            const { error } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
            assert.match(error.message, /does not parse/);
            assert.equal(engine.requests.length, requests);
            for (const { ids, body } of engine.requests)
                assert.ok(ids.length + body.max_tokens <= length, `${ids.length} + ${body.max_tokens}`);
        });
    }
});

test('nothing changed, and nothing said, are refusals', async () => {
    await refused(answer(LOOP), /would change nothing/, { requests: 1 });
    await refused('```', /empty|cut off/);
    await refused('\n```', /empty/);
});

test('hostile text never becomes an edit', async () => {
    for (const text of [hostile.ansi, hostile.bidi, hostile.controls, 'int \u{e0041}\u{e0042}x;', 'int x; // \u202e'])
        await refused(`${text}\n\`\`\``, /no place in source/, { requests: 1 });
    await refused(hostile.invalidUtf8, /no place in source|cut off/);
    await refused(hostile.huge, /larger than any edit/);
    await refused(hostile.endOfTurn + '\n```', /does not parse|no place/);
});

test('JSON that looks like the protocol is text, and no code', () =>
    refused(`{"jsonrpc":"2.0","method":"workspace/applyEdit","params":{}}\n\n\`\`\``, /does not parse/));

test('slow words: cancelled by the progress, by the request, by the end', async () => {
    const script = () => ({ text: `    ${SHORT_LOOP}`, pieceBytes: 1, pieceMs: 200 });
    await session({ script }, async (client, engine, uri) => {
        const first = client.act('simplify', uri, rangeOf(SUM, LOOP));
        await client.until(() => [...client.progress.values()].some((values) => values.length > 1), 'tokens');
        const [token] = [...client.progress.keys()];
        client.connection.sendNotification('window/workDoneProgress/cancel', { token });
        assert.equal((await first).error.code, CANCELLED);
        await engine.until(() => engine.requests[0].closedBy === 'client', 'the stream to close');
        assert.equal(client.progress.get(token).at(-1).kind, 'end');

        const second = client.act('simplify', uri, rangeOf(SUM, LOOP));
        await engine.until(() => engine.requests.length === 2, 'the question');
        client.closeDocument(uri);
        assert.equal((await second).error.code, CANCELLED);

        client.open('sum.c');
        const third = client.act('explain', uri, rangeOf(SUM, LOOP));
        await engine.until(() => engine.requests.length === 3, 'the question');
        await client.shutdown();
        assert.equal((await third).error.code, CANCELLED);
        await engine.until(() => engine.requests.every((request) => request.closedBy), 'all to close');
        assert.deepEqual(client.edits, []);
    });
});

test('the engine away is said', () =>
    refused({ status: 500, message: 'scripted failure' }, /scripted failure/));

test('a list that is old is not acted on', async () => {
    await session({ script: answer(SHORT_LOOP) }, async (client, engine, uri) => {
        const [, action] = await client.actions(uri, rangeOf(SUM, LOOP));
        client.change(uri, rangeOf(SUM, 'Adds'), 'Sums');
        const { command } = action;
        const { error } = await client.settled(client.execute(command.command, ...command.arguments));
        assert.equal(error.code, CONTENT_MODIFIED);
        assert.equal(engine.requests.length, 0);
    });
});

// The editor's word is not enough.

test('applied is not trusted: the document is', async () => {
    const lie = { onEdit: () => ({ applied: true }) };
    await session({ script: answer(SHORT_LOOP), ...lie }, async (client, engine, uri) => {
        const { error } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
        assert.equal(error.code, REQUEST_FAILED);
        assert.match(error.message, /says the edit was applied, but/);
    });
    const modest = {
        onEdit(client, params) {
            client.apply(params.edit);
            return { applied: false };
        },
    };
    await session({ script: answer(SHORT_LOOP), ...modest }, async (client, engine, uri) => {
        const { result } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
        assert.equal(result.outcome, 'applied');
    });
});

test('an editor that refuses is believed', () =>
    session({ script: answer(SHORT_LOOP), onEdit: () => ({ applied: false, failureReason: 'read-only' }) },
        async (client, engine, uri) => {
            const { error } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
            assert.match(error.message, /did not apply the edit: read-only/);
        }));

test('a client without documentChanges gets changes; one without applyEdit a refusal', async () => {
    const workspace = { applyEdit: true, workspaceEdit: {} };
    await session({ script: answer(SHORT_LOOP), workspace }, async (client, engine, uri) => {
        const { result } = await client.act('simplify', uri, rangeOf(SUM, LOOP));
        assert.equal(result.outcome, 'applied');
        assert.deepEqual(Object.keys(client.edits[0].edit), ['changes']);
    });
    await refused(answer(SHORT_LOOP), /does not let servers edit/, { workspace: { applyEdit: false } });
    await refused(answer('int x;'), /does not let servers create files/,
        { name: 'tests', workspace: { applyEdit: true, workspaceEdit: { documentChanges: true } } });
});

// Where edits may stand.

const outside = new Sandbox();
test.after(() => outside.close());

test('only inside the workspace, after all links', async () => {
    outside.write({ 'sum.c': SUM });
    const target = path.join(outside.work, 'sum.c');
    await refused(answer(SHORT_LOOP), /outside the workspace/, { open: target });
    const sandbox = new Sandbox();
    fs.symlinkSync(target, path.join(sandbox.work, 'link.c'));
    fs.symlinkSync(outside.work, path.join(sandbox.work, 'folder'));
    await refused(answer(SHORT_LOOP), /outside the workspace/, { sandbox, open: 'link.c' });
    const again = new Sandbox();
    fs.symlinkSync(outside.work, path.join(again.work, 'folder'));
    await refused(answer(SHORT_LOOP), /outside the workspace/, { sandbox: again, open: 'folder/sum.c' });
    assert.equal(fs.readFileSync(target, 'utf8'), SUM);
});

const JSON_TEXT = '{\n    "a": 1\n}\n';
for (const [file, why] of [['.github/labels.json', 'dotfile'], ['.vscode/settings.json', 'dotfile'], ['.config.json', 'dotfile'], ['hooks/post.json', 'hooks'],
    ['settings.json', 'settings'], ['deep/tasks.json', 'settings'], ['x.code-workspace', 'settings']]) {
    test(`${file} is changed only after a yes`, async () => {
        const changed = JSON_TEXT.replace('1', '2');
        const options = { files: { [file]: JSON_TEXT }, script: answer(changed.trimEnd()) };
        const range = { start: { line: 0, character: 0 }, end: { line: 2, character: 1 } };
        const act = (client, uri) => client.act('rewrite', uri, range, { more: { instruction: 'two' } });
        await session({ ...options, answer: 'Change It' }, async (client, engine, uri) => {
            assert.equal((await act(client, uri)).result.outcome, 'applied');
            assert.match(client.questions[0].message, new RegExp(why));
            assert.equal(client.text(uri), changed);
        });
        await session({ ...options, answer: undefined }, async (client, engine, uri) => {
            assert.match((await act(client, uri)).error.message, /not confirmed/);
            assert.deepEqual(client.edits, []);
        });
    });
}

test('a link with a harmless name to a dotfile is asked about, one to a secret refused', async () => {
    const sandbox = new Sandbox();
    sandbox.write({ '.hidden.c': SUM, '.env': 'PASSWORD=canary\n' });
    fs.symlinkSync('.hidden.c', path.join(sandbox.work, 'plain.c'));
    fs.symlinkSync('.env', path.join(sandbox.work, 'plain.sh'));
    await session({ sandbox, open: 'plain.c', script: answer(SHORT_LOOP) }, async (client, engine, uri) => {
        await client.act('simplify', uri, rangeOf(SUM, LOOP));
        assert.equal(client.questions.length, 1);
    });
    const more = new Sandbox();
    more.write({ '.env': 'PASSWORD=canary\n' });
    fs.symlinkSync('.env', path.join(more.work, 'plain.sh'));
    await session({ sandbox: more, open: 'plain.sh', script: 'x' }, async (client, engine, uri) => {
        const line = { start: { line: 0, character: 0 }, end: { line: 0, character: 5 } };
        assert.deepEqual(await client.actions(uri, line), []);
        await assert.rejects(client.execute('dbrx-ls.explain', { textDocument: { uri }, range: line }),
            /name behind a link excludes it/);
        assert.equal(engine.requests.length, 0);
    });
});

// Each action on its rules.

test('rename: names of the function alone, consistently, and nothing else', async () => {
    const renamed = (text) => text.replaceAll('total', 'running');
    const body = SUM.slice(SUM.indexOf('/* Adds'), SUM.indexOf('\n\nint main'));
    const at = rangeOf(SUM, 'total + values');
    await session({ script: answer(renamed(body)) }, async (client, engine, uri) => {
        const { result } = await client.act('rename', uri, at);
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), renamed(SUM));
        assert.match(engine.requests[0].prompt, /Only these names may change: n, total, i\n/);
    });
    const cases = [
        [body.replaceAll('sum', 'add'), /"sum" is used outside/],
        [body.replaceAll('values', 'v'), /"values" is used outside/],
        [body.replace('total = 0', 'running = 0'), /some places only/],
        [body.replaceAll('total', 'n'), /there already|shares one/],
        [renamed(body).replace(' + values[i]', ''), /more than names|two new names/],
        [renamed(body).replace('i++', '++i'), /more than names/],
    ];
    for (const [code, pattern] of cases) await refused(answer(code), pattern, { name: 'rename', range: at, requests: 2 });
    await refused('never asked', /there is no function here/, { name: 'rename', range: rangeOf(SUM, '#include'), requests: 0 });
});

test('document changes comments alone', async () => {
    const body = SUM.slice(SUM.indexOf('/* Adds'), SUM.indexOf('\n\nint main'));
    const documented = body.replace('/* Adds all up. */', '/* The sum of n values; 0 for none. */').replace('total = 0;', 'total = 0; /* so far */');
    const at = rangeOf(SUM, 'int total');
    await session({ script: answer(documented) }, async (client, engine, uri) => {
        const { result } = await client.act('document', uri, at);
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), SUM.replace(body, documented));
    });
    await refused(answer(documented.replace('n; i++', 'n; ++i')), /only comments may change/, { name: 'document', range: at, requests: 2 });
});

test('translate: the comment that is touched, into the language asked for', async () => {
    await session({ script: answer('/* Zählt alles zusammen. */') }, async (client, engine, uri) => {
        const { result } = await client.act('translate', uri, rangeOf(SUM, 'Adds'), { more: { language: 'German' } });
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), SUM.replace('/* Adds all up. */', '/* Zählt alles zusammen. */'));
        assert.match(engine.requests[0].prompt, /They are to be in German\./);
    });
    await refused(answer('int sneaky;'), /only comments may change/, { name: 'translate', text: 'Adds', requests: 2 });
    await refused('never asked', /no comment here/, { name: 'translate', text: 'return total', requests: 0 });
});

test('extract: the whole function with the selected lines named', async () => {
    const body = SUM.slice(SUM.indexOf('/* Adds'), SUM.indexOf('\n\nint main'));
    const extracted = `static int next(int total, int value)\n{\n    return total + value;\n}\n\n${body}`;
    await session({ script: answer(extracted) }, async (client, engine, uri) => {
        const { result } = await client.act('extract', uri, rangeOf(SUM, '        total = total', ';\n'));
        assert.equal(result.outcome, 'applied');
        assert.match(engine.requests[0].prompt, /Selected: lines 8 to 8\.\n/);
        assert.equal(client.text(uri), SUM.replace(body, extracted));
    });
});

test('fix: what is reported stands in the prompt, with its line', async () => {
    const wrong = SUM.replace('int total = 0;', 'int total;');
    const body = wrong.slice(wrong.indexOf('/* Adds'), wrong.indexOf('\n\nint main'));
    const fixed = body.replace('int total;', 'int total = 0;');
    await session({ files: { 'sum.c': wrong }, script: answer(fixed) }, async (client, engine, uri) => {
        const range = rangeOf(wrong, 'int total');
        const diagnostics = [{ range, message: "'total' is used uninitialized", source: 'cc', severity: 1 }];
        const [action] = await client.actions(uri, range, { diagnostics, triggerKind: 2 });
        assert.deepEqual(action.diagnostics, diagnostics);
        const { result } = await client.act('fix', uri, range, { context: { diagnostics } });
        assert.equal(result.outcome, 'applied');
        assert.equal(client.text(uri), SUM);
        assert.match(engine.requests[0].prompt, /Reported:\n- line 6: 'total' is used uninitialized \(cc\)\n/);
    });
});

test('tests: a new file, never one that is there', async () => {
    const code = '#include <assert.h>\n\nint main(void)\n{\n    assert(1);\n    return 0;\n}';
    const files = { 'sum.c': SUM, 'test_sum.c': 'int mine;\n' };
    await session({ files, script: `${code}\n\`\`\`` }, async (client, engine, uri) => {
        const { result } = await client.act('tests', uri, rangeOf(SUM, 'int total'));
        assert.equal(result.outcome, 'created');
        const file = path.join(client.sandbox.work, 'test_sum_2.c');
        assert.equal(result.uri, client.uri('test_sum_2.c'));
        assert.equal(fs.readFileSync(file, 'utf8'), `${code}\n`);
        assert.equal(fs.readFileSync(path.join(client.sandbox.work, 'test_sum.c'), 'utf8'), 'int mine;\n');
        const [create] = client.edits[0].edit.documentChanges;
        assert.deepEqual(create.options, { overwrite: false, ignoreIfExists: false });
        assert.match(engine.requests[0].prompt, /The new file is test_sum_2\.c\n/);
        assert.equal(client.text(uri), SUM);
    });
    const sandbox = new Sandbox();
    sandbox.write({ 'tests/other.c': '' });
    await session({ sandbox, script: `${code}\n\`\`\`` }, async (client, engine, uri) => {
        const { result } = await client.act('tests', uri, rangeOf(SUM, 'int total'));
        assert.equal(result.uri, client.uri('tests/test_sum.c'), 'where tests are kept');
    });
});

test('a document with CRLF and tabs keeps them', async () => {
    const text = SUM.replaceAll('    ', '\t').replaceAll('\n', '\r\n');
    const tabbed = SHORT_LOOP.replaceAll('    ', '\t');
    await session({ files: { 'sum.c': text }, script: answer(tabbed) }, async (client, engine, uri) => {
        const { result } = await client.act('simplify', uri, rangeOf(text, '\tfor (', 'values[i];'));
        assert.equal(result.outcome, 'applied');
        const expected = SUM.replace(LOOP, SHORT_LOOP).replaceAll('    ', '\t').replaceAll('\n', '\r\n');
        assert.equal(client.text(uri), expected);
    });
});

// Real files: every action, each with a right answer. Of each file: what begins a remark, a line with a
// function around it that has names of its own, and those names.
const FIXTURES = {
    'ring.c': ['//', 'sum +=', 'sum, i'],
    'shelf.py': ['#', 'found.append', 'found'],
    'queue.js': ['//', 'console.log', 'names, results, name, index, line'],
    'shapes.ts': ['//', 'const before', 'summary, before'],
    'matrix.go': ['//', 'out.Set', 'b, out, i, j, sum, k'],
    'words.rs': ['//', 'rows.truncate', 'n, rows, w, b'],
    'Account.java': ['//', 'out.append(line)', 'out, line'],
    'Cart.php': ['//', '$cents +=', 'cents, name, many, each'],
};

for (const [file, [mark, renamedAt, ownNames]] of Object.entries(FIXTURES)) {
    test(`every action on ${file}`, async () => {
        const source = fs.readFileSync(new URL(`../fixtures/${file}`, import.meta.url), 'utf8');
        let task = null;
        const pieceOf = (prompt) => /The piece, lines \d+ to \d+:\n(`+)\w+\n([\s\S]*?)\n\1\n/.exec(prompt)[2]
            .replace(task === 'extract' ? /^ *\d+ {2}/gm : /$^/g, '');
        // The piece with a remark at its end: parses as well, changes comments only.
        const script = (request) => {
            if (task === 'explain') return ' does it.';
            if (task === 'tests') return `${mark} tests\n\`\`\``;
            const piece = pieceOf(request.prompt);
            if (task === 'rename') {
                const [, all] = /Only these names may change: (.*)/.exec(request.prompt);
                const names = all.split(', ');
                assert.equal(all, ownNames);
                return answer(piece.replaceAll(new RegExp(`\\b${names[0]}\\b`, 'g'), 'clearer'))(request);
            }
            if (task === 'translate') return answer(piece.replace(/(#|\/\/|\/\*\*?) [A-Za-z]+/, '$1 Wort'))(request);
            return answer(`${piece} ${mark} seen`)(request);
        };
        await session({ files: { [file]: source }, script }, async (client, engine, uri) => {
            const lines = source.split('\n');
            const inner = lines.findIndex((line) => /^\s+(return|if|for|while|let|const|int)\b.*[^{:]$/.test(line));
            const line = (n) => ({ start: { line: n, character: 0 }, end: { line: n, character: lines[n].length } });
            for (task of ['explain', 'simplify', 'extract', 'rewrite', 'document', 'tests', 'fix', 'rename']) {
                const now = client.text(uri).split('\n');
                const at = task === 'rename' ? now.findIndex((text) => text.includes(renamedAt)) : inner;
                const range = { start: { line: at, character: 0 }, end: { line: at, character: now[at].length } };
                const diagnostics = [{ range: line(inner), message: 'odd' }];
                const context = task === 'fix' ? { diagnostics } : {};
                const more = task === 'rewrite' ? { instruction: 'add a remark' } : {};
                const before = client.text(uri);
                const { result, error } = await client.act(task, uri, range, { context, more });
                assert.equal(error, undefined, `${task}: ${error?.message}`);
                const expected = { explain: 'explained', tests: 'created' }[task] ?? 'applied';
                assert.equal(result.outcome, expected, task);
                if (expected === 'applied') assert.notEqual(client.text(uri), before, task);
                else assert.equal(client.text(uri), before, task);
            }
            // The first comment of the file as it is now, and nothing but it.
            task = 'translate';
            const now = client.text(uri).split('\n');
            const comment = new RegExp(`(${mark}|/\\*\\*?) [A-Za-z]`);
            const at = now.findIndex((text) => comment.test(text));
            const from = now[at].search(comment) + mark.length;
            const range = { start: { line: at, character: from }, end: { line: at, character: from + 3 } };
            const { result, error } = await client.act(task, uri, range, { more: { language: 'German' } });
            assert.equal(error, undefined, `translate: ${error?.message}`);
            assert.equal(result.outcome, 'applied');
            const differs = client.text(uri).split('\n').filter((text, i) => text !== now[i]);
            assert.ok(differs.length === 1 && differs[0].includes('Wort'), JSON.stringify(differs));
        });
    });
}
