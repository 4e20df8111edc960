// What a user of VS Code sees, one function per case, in order, in one window. The scripted engine
// says what the file really goes on with, so every expected text is known.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const TRUTH = `#include <stddef.h>

/* Äpfel 🍎 und Birnen */
size_t count_even(const int *values, size_t n)
{
    size_t n_even = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i] % 2 == 0) n_even++;
    return n_even;
}
`;
const LINES = TRUTH.split('\n');
const HEAD = '    for (size_t i = 0';
const REST = LINES[6].slice(HEAD.length + 1);

/** The file with line 7 cut behind HEAD. */
export const CUT = [...LINES.slice(0, 6), HEAD, ...LINES.slice(7)].join('\n');

export const SUM = `#include <stddef.h>

int sum(const int *values, size_t n)
{
    int total = 0;
    for (size_t i = 0; i < n; i++) {
        total = total + values[i];
    }
    return total;
}
`;
const LOOP = SUM.split('\n').slice(5, 8).join('\n');
const SHORT_LOOP = '    for (size_t i = 0; i < n; i++)\n        total += values[i];';

/** sum.c with its loop selected; its path. */
async function atTheLoop({ code, folder }) {
    await code.openFile('sum.c', 6, 5);
    for (const key of ['ArrowDown', 'ArrowDown', 'End']) await code.page.keyboard.press(`Shift+${key}`);
    return path.join(folder, 'sum.c');
}

/** The case's own copy of the file, the cursor at the end of line 7; its path. */
async function atTheGap({ code, folder, file }) {
    await code.openFile(file, 7, HEAD.length + 1);
    return path.join(folder, file);
}

async function saved(code, file, expected) {
    await code.page.keyboard.press('Control+s');
    await code.until(() => fs.readFileSync(file, 'utf8') === expected, 'the file as expected')
        .catch(() => assert.equal(fs.readFileSync(file, 'utf8'), expected));
}

export const cases = {
    async 'the status bar says ready'({ code }) {
        await code.until(async () => /dbrx/.test(await code.status()), 'an item in the status bar');
        assert.doesNotMatch(await code.status(), /\d %/);
    },

    async 'ghost text is what the file goes on with; Tab accepts it'(t) {
        const file = await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.page.keyboard.press('Tab');
        await t.code.until(async () => (await t.code.ghost()) !== REST, 'the ghost text to go');
        await t.code.page.keyboard.press('Escape');
        await saved(t.code, file, TRUTH);
    },

    async 'ghost text stays while its own characters are typed'(t) {
        await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        for (let n = 1; n <= 8; n++) {
            await t.code.page.keyboard.type(REST[n - 1]);
            // what the screen shows right after the key, long before an engine could answer
            const seen = await t.code.ghost();
            assert.ok(seen === REST.slice(n) || seen === REST.slice(n - 1), `after ${n} keys: ${seen}`);
            await t.code.ghostIs(REST.slice(n));
        }
    },

    async 'Escape sends it away, and typing on gives the file nothing but keys'(t) {
        const file = await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.page.keyboard.press('Escape');
        await t.code.ghostIs('');
        // Nor is it offered to who asks at the same place.
        await t.code.page.keyboard.press('Alt+Backslash');
        await sleep(1500);
        await t.code.ghostIs('');
        await saved(t.code, file, CUT.replace(HEAD, `${HEAD};`));
    },

    async 'the last prompt can be looked at'(t) {
        await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.command('Show the Last Prompt of This File');
        const text = await t.code.until(async () => {
            const seen = (await t.code.page.locator('.monaco-editor .view-lines').allInnerTexts())
                .join('\n').replaceAll('\u00a0', ' ');
            return /block +tokens/.test(seen) && seen;
        }, 'the report');
        assert.match(text, /system +\d+/);
        await t.code.page.keyboard.press('Control+w');
    },

    async 'an action changes what is selected, and undo takes it back'(t) {
        // the answer goes on behind the indentation that the prompt has put there
        t.engine.script = `${SHORT_LOOP.trimStart()}\n\`\`\``;
        const file = await atTheLoop(t);
        await t.code.command('Simplify');
        await t.code.until(async () => /\+= values/.test(await t.code.text()), 'the edit');
        await saved(t.code, file, SUM.replace(LOOP, SHORT_LOOP));
        await t.code.page.keyboard.press('Control+z');
        await saved(t.code, file, SUM);
    },

    async 'an explanation stands beside the code'(t) {
        t.engine.script = ' It adds up.\n\n1. A loop.\n'; // short: the pane is narrow and wraps
        await atTheLoop(t);
        await t.code.command('Explain');
        await t.code.until(async () => /1\. A loop\./.test(await t.code.text()), 'the explanation');
    },

    async 'the commit message goes where it is typed'(t) {
        t.engine.script = 'Add a sum of integers';
        await t.code.page.keyboard.press('Control+Shift+g');
        await t.code.page.locator('.scm-editor').first().waitFor({ timeout: 20000 });
        await t.code.command('Write a Commit Message');
        await t.code.until(async () => /Add a sum of integers/.test((await t.code.page
            .locator('.scm-editor').first().innerText()).replaceAll('\u00a0', ' ')), 'the message');
    },

    async 'a message that was replaced can be put back; what was left out is told'(t) {
        fs.writeFileSync(path.join(t.folder, 'yarn.lock'), 'x\n');
        execFileSync('git', ['add', 'yarn.lock'], { cwd: t.folder, env: t.sandbox.env() });
        const box = t.code.page.locator('.scm-editor').first();
        const words = async () => (await box.innerText()).replaceAll('\u00a0', ' ').trim();
        await box.click();
        await t.code.page.keyboard.press('Control+a');
        await t.code.page.keyboard.type('my own words');
        t.engine.script = 'Add a lock';
        await t.code.command('Write a Commit Message');
        await t.code.until(async () => /Add a lock/.test(await words()), 'the message');
        await t.code.until(() => t.code.mentions(/not all was read: yarn\.lock: named only/), 'what was left out');
        await t.code.page.locator('.notification-toast .monaco-button')
            .filter({ hasText: 'Put It Back' }).first().click();
        await t.code.until(async () => (await words()) === 'my own words', 'the words of before');
        fs.rmSync(path.join(t.folder, 'yarn.lock'));
        execFileSync('git', ['rm', '-q', '--cached', 'yarn.lock'], { cwd: t.folder, env: t.sandbox.env() });
    },

    async 'what is cancelled, or changed inside, is a word in the status bar and no dialog'(t) {
        t.engine.script = { text: `${SHORT_LOOP.trimStart()}\n\`\`\``, pieceBytes: 1, pieceMs: 500 };
        await atTheLoop(t);
        await t.code.command('Simplify');
        await t.code.until(() => t.code.mentions(/Simplify: [0-9]+ tokens/), 'its progress');
        await t.code.command('Cancel What Is Under Way');
        await t.code.until(() => t.code.mentions(/dbrx-ls: cancelled/), 'the word');
        await t.code.until(() => t.engine.requests.at(-1).closedBy === 'client', 'the stream to close');
        await atTheLoop(t);
        await t.code.command('Simplify');
        await t.code.until(() => t.code.mentions(/Simplify: [0-9]+ tokens/), 'its progress');
        await t.code.page.keyboard.press('ArrowRight');
        await t.code.page.keyboard.type('x');
        await t.code.until(() => t.code.mentions(/the text it is about was changed/), 'the word');
        await t.code.page.keyboard.press('Control+z');
        assert.equal(await t.code.page.locator('.monaco-dialog-box').count(), 0);
    },

    async 'a refusal is one message with its reason, and no dialog'(t) {
        t.engine.script = 'broken ((\n```';
        await atTheLoop(t);
        await t.code.command('Simplify');
        await t.code.until(async () => (await t.code.notifications()).some((one) => /dbrx-ls: the code does not parse/.test(one)),
            'the reason');
        await t.code.command('Fix');
        await t.code.until(async () => (await t.code.notifications()).some((one) => /dbrx-ls: nothing is reported here/.test(one)),
            'the reason');
        assert.equal(await t.code.page.locator('.monaco-dialog-box').count(), 0);
        await t.code.clearNotifications();
    },

    async 'tests that were made stand beside the code, and keys go where they went'(t) {
        t.engine.script = 'int main(void)\n{\n    return 0;\n}\n```';
        const file = await atTheLoop(t);
        await t.code.page.keyboard.press('ArrowRight');
        await t.code.command('Generate Tests');
        await t.code.until(async () => /int main\(void\)/.test(await t.code.text()), 'the tests');
        await t.code.page.keyboard.type('y');
        await saved(t.code, file, SUM.replace('    }\n    return total', '    }y\n    return total'));
        await t.code.page.keyboard.press('Control+z');
        await saved(t.code, file, SUM);
        assert.ok(fs.existsSync(path.join(t.folder, 'test_sum.c')));
    },

    async 'a server that is killed comes back, and completes'(t) {
        const fronts = () => t.sandbox.pids().filter((pid) => {
            const args = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
            return args.length === 1 && path.basename(args[0]) === 'dbrx-ls';
        });
        const [first] = fronts();
        assert.ok(first, 'the front runs');
        process.kill(first, 'SIGKILL');
        await t.code.until(() => fronts().some((pid) => pid !== first), 'another front');
        await atTheGap(t);
        await sleep(1000); // the new front is told of the documents
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
    },

    async 'a workspace cannot name a program, a model or an endpoint'({ code, folder, sandbox }) {
        const touched = path.join(sandbox.directory, 'touched');
        const evil = path.join(folder, 'evil.sh');
        fs.writeFileSync(evil, `#!/bin/sh\ntouch ${touched}\n`, { mode: 0o755 });
        fs.mkdirSync(path.join(folder, '.vscode'), { recursive: true });
        fs.writeFileSync(path.join(folder, '.vscode/settings.json'), JSON.stringify({
            'dbrx.server.path': evil, 'dbrx.endpoint': 'http://127.0.0.1:9', 'dbrx.model': '/nowhere' }));
        await sleep(500);
        await code.command('Restart the Language Server');
        await sleep(1500);
        assert.equal(fs.existsSync(touched), false);
        fs.rmSync(path.join(folder, '.vscode'), { recursive: true });
    },

    async 'nothing popped up in all this'({ code }) {
        assert.deepEqual(await code.notifications(), []);
    },
};
