// What the engine is told about an answer, and what its own doubts do.
import assert from 'node:assert/strict';
import test from 'node:test';
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
