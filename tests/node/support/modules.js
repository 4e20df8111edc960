// npm packages and the program, found by the build directory, so that tests run from any checkout.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
export const build = path.resolve(repository, process.env.BUILD ?? 'build');
export const program = path.join(build, 'dbrx-ls');

export const load = createRequire(path.join(build, 'npm/tests/package.json'));
