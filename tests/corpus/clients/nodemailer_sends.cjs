// Sends the messages of a list, PORT PATH RECIPIENT RECIPIENT on each line, on a few connections for each port.
'use strict';

const fs = require('fs');
const nodemailer = require('nodemailer');

const transports = {};

async function send(line) {
    const [port, path, ...to] = line.split(' ');
    transports[port] ??= nodemailer.createTransport({
        host: '127.0.0.1', port: Number(port), secure: false, ignoreTLS: true, name: 'client.test',
        pool: true, maxConnections: 3, maxMessages: Infinity,
    });
    const answer = await transports[port].sendMail({ envelope: { from: 's@client.test', to }, raw: fs.readFileSync(path) });
    if (!answer.response.startsWith('250 2.0.0 ') || answer.accepted.length !== to.length) {
        throw new Error(`not accepted: ${JSON.stringify(answer)}`);
    }
}

Promise.all(fs.readFileSync(process.argv[2], 'utf8').trimEnd().split('\n').map(send))
    .then(() => Object.values(transports).forEach((transport) => transport.close()))
    .catch((error) => {
        console.error(error);
        process.exit(1);
    });
