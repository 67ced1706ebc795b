"""Sends the messages of a list, PORT PATH RECIPIENT RECIPIENT on each line, on one connection for each port."""

import smtplib
import sys

connections = {}
with open(sys.argv[1]) as given:
    for line in given:
        port, path, *to = line.split()
        if port not in connections:
            connections[port] = smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.test", timeout=60)
        with open(path, "rb") as message:
            assert connections[port].sendmail("s@client.test", to, message.read()) == {}
for connection in connections.values():
    connection.quit()
