// Certificates for one test: an authority of its own, and what it signs.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });

export class Authority {
    constructor(directory, name = 'an authority of this test') {
        this.directory = directory;
        this.serial = 1;
        this.file = path.join(directory, `${name.replaceAll(' ', '-')}.pem`);
        this.key = `${this.file}.key`;
        openssl('req', '-x509', ...EC, '-days', '2', '-subj', `/CN=${name}`,
            '-keyout', this.key, '-out', this.file);
    }

    get pem() { return fs.readFileSync(this.file); }

    /** {cert, key}: paths of a certificate for these names; days < 0: expired yesterday. */
    issue(label, names = ['DNS:localhost', 'IP:127.0.0.1'], days = 2) {
        const at = (suffix) => path.join(this.directory, `${label}.${suffix}`);
        fs.writeFileSync(at('ext'), `subjectAltName=${names.join(',')}\n`);
        openssl('req', ...EC, '-subj', `/CN=${label}`, '-keyout', at('key'), '-out', at('csr'));
        openssl('x509', '-req', '-in', at('csr'), '-CA', this.file, '-CAkey', this.key,
            '-set_serial', `${++this.serial}`, '-days', `${days}`, '-extfile', at('ext'),
            '-out', at('pem'));
        return { cert: at('pem'), key: at('key') };
    }
}
