"""Reads the maildir MAILDIR, whose messages were sent as the files of SENT, which have their ids for names.

Each must have the subjects, and the parts, that the same library finds in what was sent. Prints how many there are, then each
subject that is plain enough for every reader to show it as it is.
"""

import email
import mailbox
import pathlib
import re
import sys

maildir, sent = sys.argv[1], pathlib.Path(sys.argv[2])


def picture(message):
    subjects = ["".join(str(subject).split()) for subject in message.get_all("Subject", [])]
    return subjects, [part.get_content_type() for part in message.walk()]


def is_plain(subject):
    return 0 < len(subject) <= 60 and subject.isascii() and subject.isprintable() and "=?" not in subject


box = mailbox.Maildir(maildir, create=False)
plain = []
for key, message in box.items():
    assert message.get_subdir() == "new", key
    # Both are read from a file, where the library takes each line end for one.
    with open(sent / key.split(".")[1], "rb") as content:
        wanted, found = picture(email.message_from_binary_file(content)), picture(message)
        content.seek(0)
        has_bare_cr = re.search(rb"\r(?!\n)", content.read())
    assert found == wanted, (key, found, wanted)
    subjects = message.get_all("Subject", [])
    if not has_bare_cr and len(subjects) == 1 and is_plain(str(subjects[0])) and "  " not in subjects[0]:
        plain.append(str(subjects[0]).strip())
print(len(box))
print("\n".join(plain))
