//! A send that is under way: its octets, and what the kernel reads to find them.
//!
//! *Invariant*: what an entry points to stays where it is until the completion: octets are on the heap and not touched,
//! pieces that are shared live as long as the process, and the list of pieces is boxed.

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use crate::reactor::io::{Parts, Payload, SendMode, Token};

/// See the module.
#[derive(Debug)]
pub struct Sending {
    load: Load,
    from: usize,
}

#[derive(Debug)]
enum Load {
    Octets(Vec<u8>),
    Parts(Parts, Box<List>),
}

/// Where pieces are, as the kernel reads it.
#[derive(Debug)]
pub struct List {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

impl Default for List {
    fn default() -> Self {
        // SAFETY: `msghdr` is plain old data, for which zeros are valid: no address, no pieces, no control data.
        Self { header: unsafe { std::mem::zeroed() }, pieces: Vec::new() }
    }
}

impl Sending {
    /// Octets from this one on.
    pub fn octets(octets: Vec<u8>, from: usize) -> Self {
        Self { load: Load::Octets(octets), from }
    }

    /// Pieces from this octet on, with a list of another send.
    pub fn parts(parts: Parts, from: usize, mut list: Box<List>) -> Self {
        list.pieces.clear();
        list.pieces.extend(
            parts
                .pieces(from)
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
        );
        list.header.msg_iov = list.pieces.as_mut_ptr();
        list.header.msg_iovlen = list.pieces.len();
        Self { load: Load::Parts(parts, list), from }
    }

    /// The entry to submit while this is kept.
    pub fn entry(&self, token: Token, mode: SendMode) -> squeue::Entry {
        let socket = Fixed(token.slot);
        let flags =
            libc::MSG_WAITALL | libc::MSG_NOSIGNAL | if mode == SendMode::Patient { 0 } else { libc::MSG_DONTWAIT };
        let entry = match &self.load {
            Load::Octets(octets) => {
                let rest = &octets[self.from..];
                opcode::Send::new(socket, rest.as_ptr(), rest.len() as u32).flags(flags).build()
            }
            Load::Parts(_, list) => match list.pieces.as_slice() {
                // Without a list there is less for the kernel to do.
                [one] => {
                    opcode::Send::new(socket, one.iov_base.cast_const().cast(), one.iov_len as u32).flags(flags).build()
                }
                _ => opcode::SendMsg::new(socket, &raw const list.header).flags(flags as u32).build(),
            },
        };
        let entry = entry.user_data(token.to_user_data());
        if mode == SendMode::Quiet { entry.flags(squeue::Flags::SKIP_SUCCESS) } else { entry }
    }

    /// How many octets were to be sent.
    pub fn remaining(&self) -> usize {
        match &self.load {
            Load::Octets(octets) => octets.len() - self.from,
            Load::Parts(parts, _) => parts.len() - self.from,
        }
    }

    /// The kernel is done with it: what its completion brings. A list is given back for another send.
    pub fn finish(self, lists: &mut Vec<Box<List>>) -> Payload {
        match self.load {
            Load::Octets(octets) => Payload::Octets(octets),
            Load::Parts(parts, list) => {
                lists.push(list);
                Payload::Parts(parts)
            }
        }
    }
}
