// Commit messages under test: repositories made by git itself, the program run in them, and the scripted
// engine that sees every prompt.
import { execFile, execFileSync } from 'node:child_process';
import { program } from './modules.js';
import { Sandbox } from './sandbox.js';
import { startScriptedEngine } from './scripted_engine.js';

/** A repository with a past: `subjects` are its commits, oldest first. */
export function repository(sandbox, { subjects = ['Add a list', 'Count the list', 'Sort the list'], config = {} } = {}) {
    const env = { ...sandbox.env(), GIT_CONFIG_NOSYSTEM: '1' };
    const git = (...args) => execFileSync('git', args, { cwd: sandbox.work, env, encoding: 'utf8' });
    git('init', '-q', '-b', 'main');
    for (const [key, value] of Object.entries({ 'user.name': 'T', 'user.email': 't@t', ...config }))
        git('config', key, value);
    subjects.forEach((subject, i) => {
        sandbox.write({ 'log.txt': `${i}\n` });
        git('add', '.');
        git('commit', '-q', '-m', subject);
    });
    return { git, env };
}

/** Runs the program: { code, stdout, stderr }. */
export function run(sandbox, engine, args, env = {}) {
    return new Promise((done) => {
        execFile(
            program,
            ['commit-message', ...args],
            { cwd: sandbox.work, env: sandbox.env({ DBRX_ENDPOINT: engine.endpoint, ...env }), encoding: 'utf8' },
            (error, stdout, stderr) => done({ code: error ? error.code : 0, stdout, stderr }),
        );
    });
}

export async function scene({ script, handshake, engineOptions, ...past }, body) {
    const sandbox = new Sandbox();
    const engine = await startScriptedEngine({ script, handshake, ...engineOptions });
    try {
        const repo = repository(sandbox, past);
        await body({ sandbox, engine, ...repo, commit: (...args) => run(sandbox, engine, args) });
    } finally {
        await engine.close();
        sandbox.close();
    }
}

export const stage = ({ sandbox, git }, files) => {
    sandbox.write(files);
    git('add', '-A');
};
