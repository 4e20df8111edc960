// What the engine is told about an answer, and what its own doubts do.
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FILES, HANG, says, session, settled, shown, TRUTH, upTo } from './support/completing.js';
import { positionOf } from './support/lsp_client.js';
import { oracle } from './support/oracle.js';
import { decode } from './support/vocabulary.js';

const line = oracle(FILES, { lines: 1 });
const FEATURES = { features: ['token_ids', 'lease', 'priority', 'must_start_with', 'forbid_first',
    'forbid_unopened', 'score'] };

/** What was sent for a place of `text`: bodies of the request and of the one for other candidates. */
async function asked(text, position, name = 'a.c') {
    let bodies;
    await session({ engine: { script: HANG, handshake: FEATURES } }, async (client, engine) => {
        const uri = client.open(name, text);
        settled(client.complete(uri, position, { invoked: true }));
        await engine.until(() => engine.requests.length && engine.alternates.length, 'both requests');
        bodies = { one: engine.requests[0].body, others: engine.alternates[0].body };
    });
    return bodies;
}

/** The line of a C file with `gap` in it, within a function whose brackets are complete. */
function around(gap) {
    const text = TRUTH.replace('    return first + second;', gap.replace('|', ''));
    return { text, position: positionOf(text, gap.split('|')[0], { end: true }) };
}

test('brackets the file closes already are not closed by the answer', async () => {
    const rows = [
        ['    return |', ')]}'], ['    f(|)', ']}'], ['    f(|', ']}'], ['    x[|]', ')}'],
        ['    // words|', undefined], ['    s = "a|', undefined],
    ];
    for (const [gap, forbidden] of rows) {
        const { text, position } = around(gap);
        const { one } = await asked(text, position);
        assert.equal(one.dbrx.forbid_unopened, forbidden, gap);
    }
    const { text, position } = around('    return |');
    const { one } = await asked(text.replace('    return \n}', '    return \n'), position); // it is lacking
    assert.equal(one.dbrx.forbid_unopened, ')]');
});

test('what is a bracket the grammar says, once the document is parsed', async () => {
    const text = 'const a = `x (\n words\n`;\nf(/[)]/);\n';
    await session({ engine: { script: HANG, handshake: FEATURES } }, async (client, engine) => {
        const uri = client.open('a.js', text);
        const ask = async (position) => {
            const n = engine.requests.length;
            settled(client.complete(uri, position, { invoked: true }));
            await engine.until(() => engine.requests.length > n, 'a request');
            return engine.requests.at(-1).body.dbrx.forbid_unopened;
        };
        let said = 'nothing';
        for (let i = 0; i < 50 && said !== undefined; i++) {
            await ask({ line: 0, character: 14 });
            said = await ask({ line: 1, character: 6 });
            await sleep(20);
        }
        assert.equal(said, undefined, 'words in a template close nothing');
        const line = { line: 3, character: 0 };
        client.change(uri, { start: line, end: line }, 'if (a) {\n\n');
        assert.equal(await ask({ line: 4, character: 0 }), ')]', 'the tree follows the text');
    });
});

test('prose does not come first in code; a fence neither, for who wants to see something', async () => {
    const words = (ids = []) => ids.map((id) => decode([id]));
    const code = around('    |');
    const { one, others } = await asked(code.text, code.position);
    assert.ok(words(one.dbrx.forbid_first).includes('Sure'));
    assert.ok(words(one.dbrx.forbid_first).includes(' Here'));
    assert.ok(!words(one.dbrx.forbid_first).includes('```'), 'nothing may be the right answer');
    assert.ok(words(others.dbrx.forbid_first).includes('```'));
    for (const gap of ['    return |', '    // |']) {
        const { text, position } = around(gap);
        assert.equal((await asked(text, position)).one.dbrx.forbid_first, undefined, gap);
    }
    const { one: prose } = await asked('\nsome words\n', { line: 0, character: 0 }, 'a.txt');
    assert.equal(prose.dbrx.forbid_first, undefined);
});

test('the answer ends at the text below, whose likelihood ranks candidates', async () => {
    const text = TRUTH.replace('    int sum = add(value, value);\n', '    \n');
    const position = { line: 9, character: 4 };
    const { one, others } = await asked(text, position);
    assert.deepEqual(one.stop, ['\n    printf("%d\\n", sum);']);
    assert.equal(decode(others.dbrx.score), '\n    printf("%d\\n", sum);');
    const { text: bare, position: at } = around('    return |');
    assert.equal((await asked(bare, at)).one.stop, undefined, 'a bracket alone stops nothing');
});

test('of other candidates the one the text below follows best comes first', async () => {
    const alternates = [' - second;\n```', ' * second;\n```'];
    for (const [scores, order] of [[[-9, -3], ['*', '-']], [[-3, -9], ['-', '*']]]) {
        const engine = { script: line, handshake: FEATURES, alternates, scores };
        await session({ engine }, async (client) => {
            const { text, position } = upTo('return first');
            const items = await client.complete(client.open('a.c', text), position, { invoked: true });
            assert.deepEqual(items.map((item) => item.insertText[1]), ['+', ...order]);
        });
    }
});

const FITS = { features: [...FEATURES.features, 'score_behind'] };
const BLOCK = { text: TRUTH.replace('    int sum = add(value, value);\n', '\n'),
    position: { line: 9, character: 0 } };
const THREE = '    int sum = 0;\n    sum += 1;\n    sum += 2;\n```';

const mustOf = (request) => Buffer.from(request.body.dbrx.must_start_with ?? '', 'base64').toString();

/** Completes in BLOCK with THREE lines; `fit` as the scripted engine has it. */
async function fitted(fit, body) {
    const script = (request) => `${mustOf(request)}${THREE}`;
    const engine = { script, handshake: FITS, fit };
    await session({ engine }, async (client, scripted) => {
        const uri = client.open('a.c', BLOCK.text);
        await body(client, scripted, uri);
    });
}

test('an answer of several lines stops where the line below follows most likely', async () => {
    const whole = THREE.slice(0, -4), [first, second] = ['    int sum = 0;', '    int sum = 0;\n    sum += 1;'];
    const rows = [[[-19, -3, -17], second], [[-3, -19, -19], first], [[-9, -9, -2], whole],
        [[-9, -3.1, -9], whole], [[-9, -2.9, -9], second], [[-1, null, -9], whole]];
    for (const [scores, expected] of rows) {
        await fitted(() => scores, async (client, engine, uri) => {
            const [item] = await client.complete(uri, BLOCK.position, { invoked: true });
            assert.equal(item.insertText, expected, JSON.stringify(scores));
            const [{ body, texts }] = engine.fits;
            assert.deepEqual([body.max_tokens, body.n, body.dbrx.priority], [0, undefined, 'interactive']);
            assert.deepEqual(body.prompt, engine.requests[0].body.prompt, 'its keys and values are there');
            assert.equal(decode(body.dbrx.score), '    printf("%d\\n", sum);');
            const must = mustOf(engine.requests[0]);
            assert.deepEqual(texts, ['    int sum = 0;\n', '    int sum = 0;\n    sum += 1;\n',
                '    int sum = 0;\n    sum += 1;\n    sum += 2;\n'].map((text) => must + text));
        });
    }
});

test('what was cut off is not offered as what comes next', async () => {
    await fitted(() => [-1, -19, -19], async (client, engine, uri) => {
        const [item] = await client.complete(uri, BLOCK.position, { invoked: true });
        engine.script = '```';
        const line = { line: 9, character: 0 };
        client.change(uri, { start: line, end: line }, `${item.insertText}\n`);
        assert.deepEqual(await client.complete(uri, { line: 10, character: 0 }), []);
        assert.equal(engine.requests.length, 2, 'the engine was asked');
    });
});

test('one line, or nothing below, has no end to choose', async () => {
    await fitted(() => assert.fail('nothing to score'), async (client, engine, uri) => {
        await shown(client, uri, BLOCK.position);
        const end = client.open('b.c', 'int a;\nint main(void) {\n');
        await client.complete(end, { line: 2, character: 0 }, { invoked: true });
        assert.equal(engine.fits.length, 0);
    });
});

test('an engine that does not say the end in time leaves the whole answer', async () => {
    await fitted(() => null, async (client, engine, uri) => {
        const [item] = await client.complete(uri, BLOCK.position, { invoked: true });
        assert.equal(item.insertText, THREE.slice(0, -4));
        await engine.until(() => engine.fits[0].closedBy === 'client', 'nobody waits for it any more');
    });
});

test('a key that goes on with an answer whose end is looked for does not begin again', async () => {
    let scores;
    const later = new Promise((done) => { scores = done; });
    await fitted(() => later, async (client, engine, uri) => {
        settled(client.complete(uri, BLOCK.position, { invoked: true }));
        await engine.until(() => engine.fits.length, 'it is looked for');
        const next = client.complete(uri, client.type(uri, BLOCK.position, ' '), { invoked: true });
        await engine.until(() => engine.fits.length === 2, 'and again, further on');
        scores([-19, -1, -19]);
        const [item] = await next;
        assert.equal(item.insertText, '    int sum = 0;\n    sum += 1;'.slice(1));
        assert.equal(engine.requests.length, 1);
    });
});

test('what the model does not believe itself is shown to nobody who has not asked', async () => {
    for (const [logprob, shows] of [[-0.2, true], [-2.9, true], [-3.1, false], [-5, false]]) {
        await session({ engine: { script: line, handshake: FEATURES } }, async (client, engine) => {
            engine.logprob = logprob;
            const { text, position } = upTo('return first');
            const uri = client.open('a.c', text);
            if (shows) {
                await shown(client, uri, position);
            } else {
                for (let i = 0; i < 2; i++)
                    assert.deepEqual(await client.complete(uri, position), [], `${logprob}`);
            }
            assert.equal(engine.requests[0].body.logprobs, 0);
            const [asked] = await client.complete(uri, position, { invoked: true });
            assert.equal(asked.insertText, ' + second;');
        });
    }
});
