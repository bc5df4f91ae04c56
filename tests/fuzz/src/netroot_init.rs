//! What netroot-init reads off the network, and of the kernel. Its modules are those of the program itself.

#![allow(dead_code, missing_docs, reason = "modules of another program, of which only the parsers are used")]

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use netrootfs::image::mac::Mac;

use crate::netroot_init::dhcp_messages::{Answer, Kind, Question};
use crate::netroot_init::netlink_messages::{Attributes, Messages};

#[path = "../../../src/bin/netroot-init/dhcp.rs"]
mod dhcp_messages;
#[path = "../../../src/bin/netroot-init/nbd.rs"]
mod nbd_client;
#[path = "../../../src/bin/netroot-init/netlink.rs"]
mod netlink_messages;

/// An answer of a DHCP server to a question. The input is what is behind the client's number and card.
pub fn dhcp(bytes: &[u8]) {
    let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let question = Question {
        kind: Kind::Request,
        xid: 0x0102_0304,
        mac,
        secs: 0,
        own: Ipv4Addr::UNSPECIFIED,
        requested: None,
        server: None,
    };
    let mut packet = bytes.to_vec();
    let put = |packet: &mut Vec<u8>, at: usize, field: &[u8]| {
        if let Some(place) = packet.get_mut(at..at + field.len()) {
            place.copy_from_slice(field);
        }
    };
    put(&mut packet, 0, &[2, 1, 6]);
    put(&mut packet, 4, &question.xid.to_be_bytes());
    put(&mut packet, 28, &mac.0);
    put(&mut packet, 236, &[99, 130, 83, 99]);
    let Some(answer) = Answer::parse(&packet, &question) else { return };
    let _ = answer.server();
    if let Some(text) = answer.text() {
        assert!(text.len() <= packet.len() * 3);
    }
    if let Some(lease) = answer.lease() {
        assert!(!lease.address.addr().is_unspecified());
        assert!(lease.terms.is_none_or(|terms| terms.renew <= terms.rebind && terms.rebind <= terms.lease));
    }
}

/// All that an NBD server says, until the disk is read for the first time.
pub fn nbd(bytes: &[u8]) {
    let mut server = Server(bytes);
    if let Ok(export) = nbd_client::open(&mut server, "a") {
        assert!(export.size > 0 && export.size % u64::from(export.block) == 0);
        let _ = nbd_client::read(&mut server, 0, &mut [0; 2048]);
    }
}

/// What the kernel answers: messages, attributes, attributes in them.
pub fn netlink(bytes: &[u8]) {
    for (_, body) in Messages(bytes) {
        assert!(body.len() <= bytes.len());
        for (_, value) in Attributes(body) {
            assert!(Attributes(value).count() <= value.len());
        }
    }
}

/// Says its bytes, whatever it is asked.
struct Server<'a>(&'a [u8]);

impl Read for Server<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Server<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
