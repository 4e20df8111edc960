// Plays the commits of a repository again, one by one: each is staged on its parent, the scripted engine
// answers with the true message, and what the program makes of it is compared. Prints TAP.
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { program } from './modules.js';
import { Sandbox } from './sandbox.js';
import { startScriptedEngine } from './scripted_engine.js';

const length = (line) => [...line].length;
const words = (text) => text.split(/\s+/).filter(Boolean).join(' ');

/** What is wrong with a result; empty: nothing. */
export function faultsOf({ result, truth, files, unpaired = files, prompts }) {
    const faults = [];
    const lines = result.message.split('\n');
    const subject = truth.split('\n')[0].trim().replaceAll(/\s+/g, ' ');
    if (length(lines[0]) > 72) faults.push(`a subject of ${length(lines[0])} characters`);
    if (length(subject) <= 72 && lines[0] !== subject && !/[*`"'#]/.test(subject))
        faults.push(`subject "${lines[0]}", not "${subject}"`);
    if (lines[1] !== '') faults.push('no blank line behind the subject');
    for (const line of lines)
        if (length(line) > 72 && !/^ *(\S{1,3} )?\S+$/.test(line)) faults.push(`a line of ${length(line)} characters`);
    if (lines.some((line) => line.startsWith('#'))) faults.push('a line that git takes out');
    // What is a rename is a judgement: two programs may differ on a file that was changed as well.
    const found = result.files.map((file) => file.path);
    const known = new Set([...found, ...result.files.map((file) => file.old_path)]);
    if (!found.every((file) => files.includes(file) || unpaired.includes(file)) || !files.every((file) => known.has(file)))
        faults.push(`files ${found}, not ${files}`);
    const last = prompts.at(-1);
    const listed = (file) => last.includes(` ${file} `) || last.includes(`(was ${file})`) || /files, \+/.test(last);
    for (const file of files) if (!listed(file)) faults.push(`${file} is not in the prompt`);
    return faults;
}

function git(folder, ...args) {
    return execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', maxBuffer: 1 << 26 });
}

function run(sandbox, engine, folder) {
    return new Promise((done) => {
        execFile(program, ['commit-message', '--json'], {
            cwd: folder,
            env: sandbox.env({ DBRX_ENDPOINT: engine.endpoint }),
            encoding: 'utf8',
            maxBuffer: 1 << 26,
        }, (error, stdout, stderr) => done({ code: error ? error.code : 0, stdout, stderr }));
    });
}

/** Plays `count` commits; returns { played, faults: [text] }. */
export async function playCommits(repository, count) {
    const sandbox = new Sandbox();
    const folder = path.join(sandbox.directory, 'clone');
    git('.', 'clone', '-q', '--no-checkout', path.resolve(repository), folder);
    let truth = '';
    const engine = await startScriptedEngine({ script: () => truth });
    const ids = git(folder, 'log', '--no-merges', '--format=%H', `-${count + 1}`).trim().split('\n');
    const faults = [];
    let played = 0;
    for (const id of ids.slice(0, count)) {
        const parent = git(folder, 'rev-list', '--parents', '-1', id).trim().split(' ')[1];
        const changed = (how) => git(folder, 'diff', '--name-only', how, '-z', parent, id).split('\0').filter(Boolean);
        const files = parent ? changed('-M') : [];
        if (files.length === 0) continue;
        git(folder, 'update-ref', '--no-deref', 'HEAD', parent); // what is staged is all that counts
        git(folder, 'read-tree', id);
        truth = git(folder, 'log', '-1', '--format=%B', id);
        engine.requests.length = 0;
        const { code, stdout, stderr } = await run(sandbox, engine, folder);
        played++;
        if (code !== 0) {
            faults.push(`${id}: exit ${code} ${stderr}`);
            continue;
        }
        const prompts = engine.requests.map(({ prompt }) => prompt);
        for (const fault of faultsOf({ result: JSON.parse(stdout), truth, files, unpaired: changed('--no-renames'), prompts }))
            faults.push(`${id.slice(0, 10)}: ${fault}`);
    }
    await engine.close();
    sandbox.close();
    return { played, faults };
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === new URL(import.meta.url).pathname) {
    const [repository, count] = [process.argv[2], Number(process.argv[3])];
    const { played, faults } = await playCommits(repository, count);
    for (const fault of faults.slice(0, 40)) console.log(`# ${fault}`);
    console.log(`${faults.length ? 'not ok' : 'ok'} ${played} commits, ${faults.length} faults`);
    process.exit(faults.length ? 1 : 0);
}
