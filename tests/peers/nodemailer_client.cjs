// Delivers to 127.0.0.1:PORT in several ways, and prints what it sent: MESSAGES RECIPIENTS OCTETS.
'use strict';

const nodemailer = require('nodemailer');

const port = Number(process.argv[2]);
const server = { host: '127.0.0.1', port, secure: false, ignoreTLS: true, name: 'client.test' };
const everybody = ['a@server.test', 'b@server.test', 'c@server.test'];
let messages = 0;
let recipients = 0;
let octets = 0;

async function send(transport, raw, to) {
    const answer = await transport.sendMail({ envelope: { from: 's@client.test', to }, raw });
    if (!answer.response.startsWith('250 2.0.0 ') || answer.accepted.length !== to.length) {
        throw new Error(`not accepted: ${JSON.stringify(answer)}`);
    }
    messages += 1;
    recipients += to.length;
    octets += Buffer.byteLength(raw);
}

async function main() {
    // A connection for each message, with lines that begin with dots.
    const single = nodemailer.createTransport(server);
    for (let number = 0; number < 20; number += 1) {
        await send(single, `Subject: ${number}\r\n\r\n.dot\r\n..dots\r\n.\r\nlast\r\n`, everybody.slice(0, 1 + (number % 3)));
    }
    // Connections that are kept.
    const pool = nodemailer.createTransport({ ...server, pool: true, maxConnections: 5, maxMessages: Infinity });
    await Promise.all(
        Array.from({ length: 200 }, (_, number) => send(pool, `Subject: ${number}\r\n\r\n${'text\r\n'.repeat(number)}`, everybody)),
    );
    // A few megabytes.
    await send(pool, `Subject: large\r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(60000)}`, everybody);
    pool.close();
    console.log(messages, recipients, octets);
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
