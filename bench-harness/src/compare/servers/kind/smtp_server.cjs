// An smtp-server that accepts everything, counts it and keeps nothing, until SIGTERM.
'use strict';

const { SMTPServer } = require('smtp-server');

let counted = 0;

const server = new SMTPServer({
    name: 'mx.test',
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    onData(stream, session, callback) {
        stream.resume();
        stream.on('end', () => {
            counted += 1;
            callback(null, 'Ok');
        });
    },
});

// A client that goes is no reason to end.
server.on('error', () => {});
server.listen(0, '127.0.0.1', () => console.log(`ready on 127.0.0.1:${server.server.address().port}`));

process.on('SIGTERM', () => {
    console.log(`counted ${counted}`);
    process.exit(0);
});
