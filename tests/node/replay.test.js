// Twenty real changes typed again key by key, in an editor that closes brackets and indents, beside a
// model that knows what comes next: what is shown stays while the typed text agrees with it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { session } from './support/completing.js';
import { repository } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Typist } from './support/typist.js';

const commits = JSON.parse(fs.readFileSync(path.join(repository, 'tests/fixtures/commits.json')));
const positionAt = (text, offset) => {
    const lines = text.slice(0, offset).split('\n');
    return { line: lines.length - 1, character: lines.at(-1).length };
};
const offsetAt = (text, { line, character }) =>
    text.split('\n').slice(0, line).reduce((sum, one) => sum + one.length + 1, character);
const bare = (text) => text.replace(/\s/g, '');

/** What of a suggestion is left to be seen once the document is `text` with the cursor at `cursor`:
 *  reckoned from the text it would make, white space aside. NULL: what was typed contradicts it. */
function remains(shown, text, cursor) {
    const typed = bare(text.slice(0, cursor));
    return bare(shown.accepted).startsWith(typed)
        ? bare(shown.accepted.slice(0, shown.end)).slice(typed.length) : null;
}

/** Right for a while, then wrong: every third answer. */
const erring = (script) => (request) => {
    const reply = script(request);
    if (request.index % 3 || !reply.text) return reply;
    return { ...reply, text: reply.text.slice(0, 20) + reply.text.slice(20).replace(/[aeiou]/g, 'y') };
};

/** Types a change; returns what was seen. `take`: suggestions are taken over now and then. */
async function replay(client, engine, commit, { take, errs }) {
    const truth = commit.before + commit.typed + commit.after;
    const knows = oracle({ [commit.path]: truth }, { elsewhere: 'nothing();\n```' });
    engine.script = errs ? erring(knows) : knows;
    const seen = { keys: 0, asked: 0, shown: 0, taken: 0, replaced: [], contradicted: 0 };
    const uri = client.open(commit.path, commit.before + commit.after);
    const typist = new Typist(commit, (from, to, text) => {
        client.change(uri, { start: positionAt(typist.text, from), end: positionAt(typist.text, to) }, text);
    });
    let shown = null;
    for (let step = 0; !typist.done; step++) {
        assert.ok(step < 4 * commit.typed.length + 100, `${commit.path}: the typist gets nowhere`);
        typist.key();
        assert.equal(client.text(uri), typist.text);
        const left = shown && remains(shown, typist.text, typist.cursor);
        if (shown && left === null) seen.contradicted++;
        const position = positionAt(typist.text, typist.cursor);
        const [item] = await client.complete(uri, position);
        seen.asked++;
        // Left with nothing but closers, a suggestion is as good as typed.
        const stays = left && /[^)\]}'"`;,]/.test(left);
        const was = shown;
        shown = item ? { accepted: client.accepted(uri, item),
            end: offsetAt(typist.text, item.range.start) + item.insertText.length } : null;
        if (item) seen.shown++;
        const now = shown && remains(shown, typist.text, typist.cursor);
        if (stays && (!now || !left.startsWith(now)))
            seen.replaced.push({ path: commit.path, text: typist.text.slice(-20 + typist.cursor, typist.cursor),
                was: was.accepted.slice(typist.cursor, was.end), left, now });
        if (item && item.range.start.line !== position.line) seen.replaced.push({ moved: item });
        if (take && item && step % 3 === 0 && commit.typed.length > 0 && truth.startsWith(shown.accepted.slice(0, shown.end))) {
            const from = offsetAt(typist.text, item.range.start);
            if (from + item.insertText.length > truth.length - commit.after.length) continue;
            typist.take(from, offsetAt(typist.text, item.range.end), item.insertText);
            shown = null;
            seen.taken++;
        }
    }
    seen.keys = typist.keys;
    client.closeDocument(uri);
    return seen;
}

const ways = [
    ['typing all of it', { take: false, errs: false }],
    ['taking suggestions over', { take: true, errs: false }],
    ['with a model that errs', { take: false, errs: true }],
];

for (const [how, { take, errs }] of ways) {
    test(`20 real commits, ${how}: nothing that agrees is replaced, hidden or moved`, async (t) => {
        assert.equal(commits.length, 20);
        const sum = { keys: 0, asked: 0, shown: 0, taken: 0, contradicted: 0 };
        const replaced = [];
        let sent = 0;
        await session({ engine: {} }, async (client, engine) => {
            for (const commit of commits) {
                const seen = await replay(client, engine, commit, { take, errs });
                for (const name of Object.keys(sum)) sum[name] += seen[name];
                replaced.push(...seen.replaced);
            }
            sent = engine.requests.length;
        });
        const characters = commits.reduce((n, { typed }) => n + typed.length, 0);
        t.diagnostic(`${characters} characters, ${sum.keys} keys: ${characters - sum.keys} saved`);
        t.diagnostic(`${sum.asked} asked, ${sent} requests sent, ${sum.asked - sent} answered without`);
        t.diagnostic(`${sum.shown} times something was shown, ${sum.taken} taken over`);
        t.diagnostic(`${replaced.length} times it was replaced while the text agreed`);
        assert.deepEqual(replaced, []);
        assert.ok(sum.shown > sum.asked / (take ? 4 : 2), 'something is shown');
        if (!take && !errs) assert.ok(sent < sum.asked / 4, 'most is answered from the cache');
        if (errs) assert.ok(sum.contradicted > 20, 'what errs is contradicted');
        if (take) assert.ok(sum.keys < characters / 2, 'keys are saved');
    });
}
